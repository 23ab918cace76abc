"""H3b: what tuning (α, β, γ0) gains over tuning γ0 alone and over tuned SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from indian_tune.study.file.section import ADDED
from indian_tune.study.hypotheses.hypothesis import (
    Hypothesis,
    Prospect,
    Setting,
    first,
    ours,
    searches,
    tunes_shape,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.study.file.arm import ArmSection


class TuningGain(Hypothesis):
    """H3b: what tuning (α, β, γ0) gains over tuning γ0 alone.

    ``default`` is T0, ``rate`` T1, ``full`` T2, ``usual`` T3 (dropout and weight decay).
    ``baseline`` is tuned SGD; by default that of H2.
    """

    name = "H3b"
    role = "link"
    question = "Does tuning (α, β) gain over tuning γ0 alone, and over tuned SGD?"
    gain = "over tuning γ0 alone and over tuned SGD"
    contrasts = 2
    needs = (
        "an arm of indian that searches alpha, beta and gamma0, and one that holds {default} and "
        "searches gamma0"
    )
    add = (
        "an arm that tunes γ0 at the default (α, β) and one that tunes (α, β, γ0), named in "
        "claims.h3b.rate and .full",
    )
    find = "indian_tune.analysis.tuning_gain:find"

    rate: str
    full: str
    default: str | None = None
    usual: str | None = None
    baseline: Annotated[str | None, ADDED] = None

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Tell the arms of INDIAN apart by what they search and what they hold at the default."""

        def is_default(arm: ArmSection) -> bool:
            return all(arm.space.get(name) == value for name, value in setting.default.items())

        def is_usual(arm: ArmSection) -> bool:
            return searches(arm, "dropout") or searches(arm, "weight_decay")

        arms = ours(arms)
        rate = first(arms, lambda arm: arm.searched and is_default(arm) and not is_usual(arm))
        full = first(arms, lambda arm: tunes_shape(arm) and not is_usual(arm))
        if rate is None or full is None:
            return None
        return cls(
            rate=rate,
            full=full,
            default=first(arms, lambda arm: arm.fixed and is_default(arm)),
            usual=first(arms, lambda arm: is_default(arm) and is_usual(arm)),
        )

    def prospect(self) -> Prospect:
        """Name the arms."""
        rivals = [rival for _, rival in self.pairs()]
        return Prospect(self.name, True, f"{self.full} and {', '.join(rivals)}")

    def pairs(self) -> list[tuple[str, str]]:
        """Return the arm that tunes all with those that it must beat."""
        rivals = (self.rate, self.baseline)
        return [(self.full, rival) for rival in rivals if rival is not None]
