"""H3a: whether accuracy depends on (α, β) at a fixed effective learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from indian_tune.study.file import space as spaces
from indian_tune.study.hypotheses.hypothesis import Hypothesis, Prospect, Setting, first, ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.study.file.arm import ArmSection

# Points on each axis from which a quadratic surface can be fitted.
POINTS = 3
ADD_GRID = (
    "a grid search of arm {arm!r} over at least 3 values of alpha and of beta at the same values "
    "of eta, on at least 2 tuning seeds"
)


class Surface(Hypothesis):
    """H3a: the accuracy of ``arm`` over a designed grid of (α, β, η)."""

    name = "H3a"
    role = "secondary"
    question = "At a fixed learning rate, do the results depend on (α, β)?"
    needs = (
        f"sampler = 'grid', an arm of indian with {POINTS} values or more of alpha, beta and the "
        "rate, tune_seeds of 2 or more"
    )
    add = (f"{ADD_GRID.format(arm='indian')}, named in claims.h3a.arm",)
    find = "indian_tune.analysis.surface:find"

    arm: str

    @classmethod
    def propose(cls, arms: Sequence[ArmSection], setting: Setting) -> Self | None:
        """Take the first arm of INDIAN on a whole grid, with a spread over tuning seeds."""
        arm = first(ours(arms), _designed) if setting.grid and setting.seeds > 1 else None
        return None if arm is None else cls(arm=arm)

    def prospect(self) -> Prospect:
        """Name the grid."""
        return Prospect(self.name, True, f"the grid of {self.arm}")


def _designed(arm: ArmSection) -> bool:
    points = {
        name: len(parameter.values)
        for name, parameter in spaces.parse_space(arm.space, arm.name).items()
        if isinstance(parameter, spaces.Grid)
    }
    rate = max(points.get(name, 0) for name in arm.family.rates)
    return min(points.get("alpha", 0), points.get("beta", 0), rate) >= POINTS
