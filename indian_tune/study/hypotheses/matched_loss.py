"""H2: a gain over SGD with the same response to a steady gradient, its level tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field

from indian_tune.study.hypotheses.hypothesis import (
    Hypothesis,
    Prospect,
    Setting,
    first,
    ours,
    tunes_shape,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.study.file.arm import ArmSection

ADD_C1 = (
    "SGD with the response of the INDIAN arm (response_of, control C1), named in "
    "claims.h2.matched_rate"
)


class MatchedLoss(Hypothesis):
    """H2: ``arm`` beats its control ``matched_rate``, and not by a better fit.

    The control C1 is SGD that responds to a steady gradient as the arm does, at a tuned level.
    ``baseline`` is tuned SGD; it and ``momentum`` (QHM and momentum methods) are shown beside.
    """

    name = "H2"
    role = "link"
    question = (
        "Does the memory that (α, β) set lower test error, and not only by a better fit of the "
        "training data?"
    )
    gain = "over SGD with the same response (and not only by a better fit of the training data)"
    needs = "a tuned arm of indian, one of sgd, and one of sgd with response_of"
    add = ("an INDIAN arm and a baseline, named in claims.h2", ADD_C1)
    find = "indian_tune.analysis.isolation:find"

    arm: str
    baseline: str
    matched_rate: str | None = None
    momentum: list[str] = Field(default_factory=list)

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Take the arm that searches α and β, else any of INDIAN, against tuned SGD."""
        indian = ours(arms)
        name = first(indian, tunes_shape)
        name = name or first(indian, lambda arm: arm.searched)
        baseline = first(arms, lambda arm: arm.family.plain and arm.searched)
        if name is None or baseline is None:
            return None
        return cls(
            arm=name,
            baseline=baseline,
            matched_rate=first(arms, lambda arm: arm.source == name),
            momentum=[arm.name for arm in arms if arm.family.role == "momentum" and arm.searched],
        )

    def prospect(self) -> Prospect:
        """Name the arms, and the control if it lacks."""
        compares = f"{self.arm} and {self.matched_rate or 'its control'}"
        missing = "" if self.matched_rate else self._control
        return Prospect(self.name, self.matched_rate is not None, compares, missing=missing)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the arm with its baseline and its controls."""
        rivals = (self.baseline, self.matched_rate, *self.momentum)
        return [(self.arm, rival) for rival in rivals if rival is not None]

    def warnings(self) -> Iterator[str]:
        """Warn of a control that lacks."""
        if self.matched_rate is None:
            yield (f"{self.arm!r} has no control arm, so H2 cannot be tested: add {self._control}")

    @property
    def _control(self) -> str:
        return f"an arm of sgd with response_of = {self.arm!r}"
