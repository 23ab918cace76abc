"""Number of searches that an effect needs, and the smallest effect that a number can find.

The claim holds only if all of its contrasts do: with k of them, each is planned at a probability of
1 - (1 - power) / k. One of them refutes it, at the level alpha / k.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What is said where there is one search: the seeds of one tell nothing of how searches differ.
ONE_SEARCH = (
    "One search of every arm does not show how much searches differ, so the number of searches "
    "needed is unknown: set search.replicates"
)
# Above this the answer is "more than": no study of that size is planned.
MOST_SEEDS = 100_000
# A deviation from few units may be too small by chance: planned is with an upper bound of it.
UNSURE = 0.2


@dataclass(frozen=True)
class Power:
    """What a one-sided paired t-test over units can see.

    Attributes:
        deviation: standard deviation of the paired differences.
        planned: the deviation that is planned with: of a pilot, its upper bound at 80 %.
        delta: effect to be found.
        alpha: one-sided level.
        power: probability that is asked for, of all contrasts together.
        contrasts: number of contrasts that must all hold.
        n: units that ``detectable`` and ``achieved`` are for.
        needed: fewest units with which support is found at an effect of ``delta``.
        needed_to_refute: fewest with which an effect of ``delta`` is ruled out where there is none.
        detectable: smallest effect found with that probability at ``n`` units; ``None`` without n.
            Of units that are planned, with the deviation ``planned``; of a pilot's own, with its
            own.
        achieved: probability of finding ``delta`` at ``n`` units; likewise.
    """

    deviation: float
    planned: float
    delta: float
    alpha: float
    power: float
    contrasts: int
    n: int | None
    needed: int
    needed_to_refute: int
    detectable: float | None
    achieved: float | None


def power(
    pilot: float | Sequence[float],
    delta: float,
    alpha: float = 0.05,
    power: float = 0.8,
    *,
    n: int | None = None,
    contrasts: int = 1,
) -> Power:
    """Return the units that an effect needs, from a pilot.

    Args:
        pilot: paired differences, or their standard deviation.
        delta: effect to be found, in the unit of the differences.
        alpha: one-sided level of the test.
        power: probability of finding it in every contrast.
        n: units of the study that is planned, at least 2; by default those of the pilot.
        contrasts: number of contrasts that must all hold.

    Raises:
        InputError: a value is out of range, or the pilot holds fewer than two differences.
    """
    for key, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise InputError(f"{key} = {value!r} must be between 0 and 1")
    if not delta > 0 or not math.isfinite(delta):
        raise InputError(f"delta = {delta!r} must be a number above 0")
    if n is not None and n < 2:
        raise InputError(f"n = {n!r} must be at least 2: one value has no standard deviation")
    if isinstance(pilot, int | float):
        deviation = planned = float(pilot)
    else:
        if len(pilot) < 2:
            raise InputError(f"pilot = {list(pilot)!r} must contain at least 2 paired differences")
        deviation = float(np.std(pilot, ddof=1))
        planned = deviation * upper_factor(len(pilot) - 1)
    if not deviation >= 0 or not math.isfinite(deviation):
        raise InputError(f"pilot = {pilot!r} has no finite standard deviation")
    # What the pilot itself could see is told by its own deviation.
    spread = deviation if n is None else planned
    if n is None and not isinstance(pilot, int | float):
        n = len(pilot)
    each = 1 - (1 - power) / contrasts
    needed, refuting = 2, 2
    detectable, achieved = (None, None) if n is None else (0.0, 1.0)
    if deviation > 0:
        needed = _seeds(delta / planned, alpha, each)
        refuting = _seeds(delta / planned, alpha / contrasts, power)
        if n is not None:
            detectable = spread * _effect(n, alpha, power)
            achieved = _achieved(delta / spread, n, alpha)
    return Power(
        deviation=deviation,
        planned=planned,
        delta=delta,
        alpha=alpha,
        power=power,
        contrasts=contrasts,
        n=n,
        needed=needed,
        needed_to_refute=refuting,
        detectable=detectable,
        achieved=achieved,
    )


def upper_factor(freedom: int) -> float:
    """Return by what a deviation is multiplied for its upper bound at 80 %."""
    from scipy.stats import chi2

    return math.sqrt(freedom / float(chi2.ppf(UNSURE, freedom)))


def _achieved(effect: float, n: int, alpha: float) -> float:
    from statsmodels.stats.power import TTestPower

    with warnings.catch_warnings():
        # The noncentral t of far tails warns about its precision, at a power of 0 or 1.
        warnings.simplefilter("ignore")
        value = float(TTestPower().power(effect, n, alpha, alternative="larger"))
    return value if math.isfinite(value) else 1.0


def _seeds(effect: float, alpha: float, power: float) -> int:
    """Return the smallest whole number of seeds, by bisection: power grows with the seeds."""
    if _achieved(effect, 2, alpha) >= power:
        return 2
    few, many = 2, 4
    while many < MOST_SEEDS and _achieved(effect, many, alpha) < power:
        few, many = many, many * 2
    if many >= MOST_SEEDS:
        return MOST_SEEDS
    while many - few > 1:
        middle = (few + many) // 2
        if _achieved(effect, middle, alpha) < power:
            few = middle
        else:
            many = middle
    return many


def _effect(n: int, alpha: float, power: float) -> float:
    from scipy.optimize import brentq

    top = 1.0
    while _achieved(top, n, alpha) < power:
        top *= 2
    return float(brentq(lambda effect: _achieved(effect, n, alpha) - power, 0.0, top))
