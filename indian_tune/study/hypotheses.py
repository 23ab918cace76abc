"""Filling in which arms the hypotheses compare, where a study file leaves it open.

The claims are part of what is registered, so they are written out whole before the first trial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.study import space as spaces
from indian_tune.study.claims import MatchedLoss, Replication, Surface, TuningGain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indian_tune.study.arm import ArmSection
    from indian_tune.study.claims import ClaimsSection

# The hyperparameters whose tuning is the usual way to regularize.
USUAL = frozenset({"dropout", "weight_decay"})
# Points on each axis from which a quadratic surface can be fitted.
SURFACE_POINTS = 3


def fill_in(
    claims: ClaimsSection, arms: Sequence[ArmSection], *, paper: bool, grid: bool, seeds: int
) -> ClaimsSection:
    """Return the claims with every hypothesis that the arms make testable.

    Args:
        claims: as given; what it says is kept.
        arms: of the study.
        paper: whether the study is a descriptive replication, which can test H1 alone.
        grid: whether the search is a designed grid.
        seeds: of a tune trial.
    """
    ours = [arm for arm in arms if arm.family.role == "ours"]
    replication = claims.h1 or _replication(ours, arms)
    if paper:
        return claims.model_copy(update={"h1": replication})
    found = {
        "h1": replication,
        "h2": claims.h2 or _matched_loss(ours, arms),
        "h3a": claims.h3a or (_surface(ours) if grid and seeds > 1 else None),
        "h3b": claims.h3b or _tuning_gain(ours, claims.default),
    }
    return claims.model_copy(update=found)


def _replication(ours: Sequence[ArmSection], arms: Sequence[ArmSection]) -> Replication | None:
    tuned = [arm.name for arm in ours if not arm.fixed]
    rivals = [arm for arm in arms if arm not in ours and arm.searched]
    baselines = [arm.name for arm in rivals if arm.family.role == "baseline"]
    beside = [arm.name for arm in rivals if arm.family.role != "baseline"]
    if not tuned or not baselines:
        return None
    return Replication(arms=tuned, baselines=baselines, beside=beside)


def _matched_loss(ours: Sequence[ArmSection], arms: Sequence[ArmSection]) -> MatchedLoss | None:
    arm = _first(ours, lambda arm: _searches(arm, {"alpha", "beta"})) or _first(
        ours, lambda arm: arm.searched
    )
    baseline = _first(arms, lambda arm: arm.family.plain and arm.searched)
    if arm is None or baseline is None:
        return None
    matched = _first(arms, lambda other: other.matched_rate_of == arm.name)
    return MatchedLoss(
        arm=arm.name,
        baseline=baseline.name,
        matched_rate=None if matched is None else matched.name,
        momentum=[
            other.name for other in arms if other.family.role == "momentum" and other.searched
        ],
    )


def _surface(ours: Sequence[ArmSection]) -> Surface | None:
    def designed(arm: ArmSection) -> bool:
        points = {
            name: len(parameter.values)
            for name, parameter in spaces.parse_space(arm.space, arm.name).items()
            if isinstance(parameter, spaces.Grid)
        }
        rate = max(points.get(name, 0) for name in arm.family.rates)
        return min(points.get("alpha", 0), points.get("beta", 0), rate) >= SURFACE_POINTS

    arm = _first(ours, designed)
    return None if arm is None else Surface(arm=arm.name)


def _tuning_gain(ours: Sequence[ArmSection], default: dict[str, float]) -> TuningGain | None:
    def is_default(arm: ArmSection) -> bool:
        return all(arm.space.get(name) == value for name, value in default.items())

    rate = _first(ours, lambda a: a.searched and is_default(a) and not _searches_any(a, USUAL))
    full = _first(ours, lambda a: _searches(a, {"alpha", "beta"}) and not _searches_any(a, USUAL))
    if rate is None or full is None:
        return None
    untuned = _first(ours, lambda arm: arm.fixed and is_default(arm))
    usual = _first(ours, lambda arm: is_default(arm) and _searches_any(arm, USUAL))
    return TuningGain(
        rate=rate.name,
        full=full.name,
        default=None if untuned is None else untuned.name,
        usual=None if usual is None else usual.name,
    )


def _first(
    arms: Sequence[ArmSection], condition: Callable[[ArmSection], bool]
) -> ArmSection | None:
    return next((arm for arm in arms if condition(arm)), None)


def _searches(arm: ArmSection, names: set[str]) -> bool:
    return all(isinstance(arm.space.get(name), dict) for name in names)


def _searches_any(arm: ArmSection, names: frozenset[str]) -> bool:
    return any(isinstance(arm.space.get(name), dict) for name in names)
