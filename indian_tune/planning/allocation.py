"""Searches, trials and seeds with which a study reaches δ at the least cost, from a pilot."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from indian_tune.analysis.power import power, upper_factor
from indian_tune.study.claims import LEAST_SEARCHES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.planning.pilot import Pilot, Spread

SEEDS = (1, 2, 3, 5, 10, 20)
# More searches than these are no plan.
MOST_SEARCHES = 1_000
# Runs whose noise counts in the difference after one side has gained once more: its winner twice,
# so 4 times the variance, the winner of half the budget and the other side's. Of Δ alone it is 2.
GATED_NOISE = 3.0

Goal = Literal["SUPPORTED", "REFUTED"]


@dataclass(frozen=True)
class Allocation:
    """The cheapest way to a goal at one budget of trials.

    Attributes:
        goal: SUPPORTED where the gain is δ in every contrast, or REFUTED where there is none.
        trials: of a search.
        searches: of every arm; ``None`` where no number reaches the goal.
        seeds: fresh seeds of a search; likewise.
        cost: of all runs, one after the other, in the unit of the pilot; likewise.
        limit: the pair of arms that decides.
        gain: the largest gain of the last doubling that the gate on the budget counts there.
    """

    goal: Goal
    trials: int
    searches: int | None
    seeds: int | None
    cost: float | None
    limit: str
    gain: float


def allocations(pilot: Pilot, delta: float, alpha: float, contrasts: int) -> tuple[Allocation, ...]:
    """Return the cheapest numbers of searches and seeds for every budget that a pilot tells of.

    The variance between searches is the pilot's own, at its upper bound at 80 %, changed with the
    budget as its searches changed; the gate on the budget is counted in effect and noise. What a
    larger budget would bring is not known: it is not planned.

    Args:
        pilot: at least two searches of every arm.
        delta: smallest effect of interest.
        alpha: one-sided level.
        contrasts: of the claim.

    Returns:
        For either goal a row per budget, the cheapest first; those out of reach last. None where
        the pilot has one search of every arm, or no trials.
    """
    spreads = [spread for spread in pilot.spreads if spread.between is not None]
    budgets = sorted({b for spread in spreads for b in spread.by_budget})
    goals: tuple[Goal, ...] = ("SUPPORTED", "REFUTED")
    found = []
    for goal in goals:
        rows = [
            _cheapest(goal, pilot, spreads, trials, delta, alpha, contrasts) for trials in budgets
        ]
        found += sorted(rows, key=lambda row: math.inf if row.cost is None else row.cost)
    return tuple(found)


def _cheapest(
    goal: Goal,
    pilot: Pilot,
    spreads: list[Spread],
    trials: int,
    delta: float,
    alpha: float,
    contrasts: int,
) -> Allocation:
    factor = upper_factor(pilot.searches - 1)
    # A ratio of two variances over few searches is unsure: all pairs have the same.
    plain = _mean([spread.by_budget.get(trials) for spread in spreads])
    moved = {
        f"{spread.arm} - {spread.rival}": _gated(spreads, spread, goal, trials)
        for spread in spreads
    }
    gated = _mean([each[0] for each in moved.values() if each is not None])
    gains = {name: 0.0 if each is None else each[1] for name, each in moved.items()}
    best: Allocation | None = None
    for seeds in SEEDS:
        needed: dict[str, float] = {}
        for spread in spreads:
            name = f"{spread.arm} - {spread.rival}"
            ratio, noise = (plain, 1.0) if moved[name] is None else (gated, GATED_NOISE)
            assert spread.between is not None
            variance = (factor * spread.between) ** 2 * ratio + noise * spread.within**2 / seeds
            needed[name] = (
                max(
                    _searches(goal, math.sqrt(variance), delta - gains[name], alpha, contrasts),
                    LEAST_SEARCHES,
                )
                if gains[name] < delta
                else math.inf
            )
        # Every contrast must be above 0, and one below δ refutes.
        ordered = sorted(needed, key=needed.__getitem__)
        limit = ordered[-1] if goal == "SUPPORTED" else ordered[0]
        searches = needed[limit]
        cost = searches * pilot.price.of(trials, seeds)
        if searches > MOST_SEARCHES:
            made = Allocation(goal, trials, None, None, None, limit, gains[limit])
        else:
            made = Allocation(goal, trials, int(searches), seeds, cost, limit, gains[limit])
        if best is None or (made.cost or math.inf) < (best.cost or math.inf):
            best = made
    assert best is not None
    return best


def _gated(
    spreads: Sequence[Spread], spread: Spread, goal: Goal, trials: int
) -> tuple[float, float] | None:
    """Return variance ratio and gain of the side that the goal speaks against.

    A control has no search of its own, so no gate on the budget asks for its gain (``None``), and
    what the arm gains is taken from the arm's other comparisons.
    """
    side = spread.rival if goal == "SUPPORTED" else spread.arm
    known = spread.gated.get(side)
    if known is None and side == spread.arm:
        known = next((each.gated[side] for each in spreads if side in each.gated), None)
    return None if known is None else known.get(trials, (1.0, 0.0))


def _mean(ratios: Sequence[float | None]) -> float:
    """Return the mean of the ratios that are known; 1 where none is."""
    known = [ratio for ratio in ratios if ratio is not None and math.isfinite(ratio)]
    return sum(known) / len(known) if known else 1.0


def _searches(goal: Goal, deviation: float, effect: float, alpha: float, contrasts: int) -> int:
    if deviation == 0:
        return LEAST_SEARCHES
    found = power(deviation, effect, alpha, contrasts=contrasts)
    return found.needed if goal == "SUPPORTED" else found.needed_to_refute
