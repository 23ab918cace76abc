"""A typical configuration of the space of an arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.study.file.space import at_quantile, bounds
from indian_tune.study.freeze import matched_rate
from indian_tune.study.levels import control_of

if TYPE_CHECKING:
    from indian_tune.study.file.spec import StudySpec


def typical(spec: StudySpec, arm: str) -> dict[str, float]:
    """Return a configuration of an arm to time steps with: the smallest rate, else the medians.

    What a step costs does not depend on the rate, and a run at a small one does not diverge.
    """
    section = spec.arm(arm)
    if section.source is not None:
        source = spec.arm(section.source)
        follow = matched_rate if section.response_of is None else control_of
        return follow(source.optimizer, typical(spec, source.name))
    return {
        name: bounds(parameter)[0] if name in section.family.rates else at_quantile(parameter, 0.5)
        for name, parameter in spec.space(arm).items()
    }
