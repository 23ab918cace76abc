"""Simulated studies with known truth, as the frames that the analysis reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from indian_tune.analysis import Registration, Scope, analyze
from indian_tune.analysis.simulation import (
    EPOCHS,
    SCENARIOS,
    simulate,
    simulated_claims,
    simulated_frame,
    with_effect,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from indian_tune.analysis import Verdict
    from indian_tune.analysis.simulation import Scenario
    from indian_tune.study.claims import ClaimsSection


@dataclass
class Study:
    """A frame with what was registered about it."""

    frame: pd.DataFrame
    claims: ClaimsSection
    registration: Registration
    scope: Scope

    def judged(self, frame: pd.DataFrame | None = None, **changes: Any) -> Verdict:
        """Analyse the frame, or another one, under what was registered."""
        given: dict[str, Any] = {"registration": self.registration, "scope": self.scope, **changes}
        return analyze(self.frame if frame is None else frame, self.claims, **given)


def _study(scenario: Scenario, n: int = 10, draw: int = 0) -> Study:
    return Study(
        frame=simulated_frame(simulate(scenario, n, 1, np.random.default_rng(draw))),
        claims=simulated_claims(scenario),
        registration=Registration("honest", tuple(range(n))),
        scope=Scope("nin-small", "digits", 10, EPOCHS, 16, 8),
    )


@pytest.fixture
def simulated() -> Callable[..., Study]:
    """Draw a study of a scenario by its name; ``n`` seeds, ``draw`` numbers the draws."""
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    return lambda name, n=10, draw=0: _study(by_name[name], n, draw)


@pytest.fixture
def direct() -> Study:
    """A study in which tuning gains two points at equal training loss."""
    return _study(with_effect(0.02))
