"""H2: better accuracy at equal training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field

from indian_tune.study.hypotheses.hypothesis import (
    Hypothesis,
    Prospect,
    Setting,
    first,
    ours,
    searches,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.study.file.arm import ArmSection

ADD_C1 = "SGD at the matched effective learning rate, named in claims.h2.matched_rate (control C1)"


class MatchedLoss(Hypothesis):
    """H2: ``arm`` beats ``baseline`` at equal training loss.

    ``matched_rate`` is SGD at the arm's effective learning rate (control C1), ``momentum`` are
    QHM and momentum methods tuned on the same budget (control C2).
    """

    name = "H2"
    role = "link"
    question = "At equal training loss, does INDIAN generalize better?"
    gain = "at equal training loss"
    needs = "a tuned arm of indian and one of sgd"
    add = ("an INDIAN arm and a baseline, named in claims.h2", ADD_C1)
    find = "indian_tune.analysis.matched_loss:find"

    arm: str
    baseline: str
    matched_rate: str | None = None
    momentum: list[str] = Field(default_factory=list)

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Take the arm that searches α and β, else any of INDIAN, against tuned SGD."""
        indian = ours(arms)
        name = first(indian, lambda arm: searches(arm, "alpha", "beta"))
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
        """Name the arms, and the control that support needs."""
        compares = f"{self.arm} and {self.baseline} at equal training loss"
        missing = "" if self.matched_rate else f"for SUPPORTED {self._control}"
        return Prospect(self.name, True, compares, missing=missing)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the arm with its baseline and its controls."""
        rivals = (self.baseline, self.matched_rate, *self.momentum)
        return [(self.arm, rival) for rival in rivals if rival is not None]

    def warnings(self) -> Iterator[str]:
        """Warn of a control that support needs."""
        if self.matched_rate is None:
            yield (
                "no arm has a matched learning rate, so H2 cannot be SUPPORTED: add "
                f"{self._control}"
            )

    @property
    def _control(self) -> str:
        return f"an arm of sgd with response_of = {self.arm!r}"
