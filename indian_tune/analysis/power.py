"""How many seeds an effect needs, and which effect the seeds that there are can find."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Above this the answer is "more than": no study of that size is planned.
MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Power:
    """What a one-sided paired t-test over seeds can see.

    Attributes:
        deviation: standard deviation of the paired differences.
        delta: effect to be found.
        alpha: one-sided level.
        power: probability that is asked for.
        n: seeds that the last two are for: those that were given, or else the pilot's.
        seeds_needed: smallest number of seeds that finds ``delta`` with that probability.
        detectable: smallest effect found with that probability at ``n`` seeds; ``None`` without n.
        achieved: probability of finding ``delta`` at ``n`` seeds; likewise.
    """

    deviation: float
    delta: float
    alpha: float
    power: float
    n: int | None
    seeds_needed: int
    detectable: float | None
    achieved: float | None


def power(
    pilot: float | Sequence[float],
    delta: float,
    alpha: float = 0.05,
    power: float = 0.8,
    *,
    n: int | None = None,
) -> Power:
    """Return the seeds that an effect needs, from a pilot.

    Args:
        pilot: paired differences, or their standard deviation.
        delta: effect to be found, in the unit of the differences.
        alpha: one-sided level of the test.
        power: probability of finding it.
        n: seeds of the study that is planned, at least 2; by default those of the pilot.

    Raises:
        InputError: a value is out of range, or the pilot holds fewer than two differences.
    """
    for key, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise InputError(f"{key} = {value!r} must be between 0 and 1")
    if not delta > 0 or not math.isfinite(delta):
        raise InputError(f"delta = {delta!r} must be a number above 0")
    if n is not None and n < 2:
        raise InputError(f"n = {n!r} must be at least 2: one seed has no spread")
    if isinstance(pilot, int | float):
        deviation = float(pilot)
    else:
        if len(pilot) < 2:
            raise InputError(f"pilot = {list(pilot)!r} must hold at least 2 paired differences")
        n = n or len(pilot)
        deviation = float(np.std(pilot, ddof=1))
    if not deviation >= 0 or not math.isfinite(deviation):
        raise InputError(f"pilot = {pilot!r} has no finite standard deviation")
    if deviation == 0:
        return Power(
            deviation,
            delta,
            alpha,
            power,
            n,
            2,
            None if n is None else 0.0,
            None if n is None else 1.0,
        )
    return Power(
        deviation=deviation,
        delta=delta,
        alpha=alpha,
        power=power,
        n=n,
        seeds_needed=_seeds(delta / deviation, alpha, power),
        detectable=None if n is None else deviation * _effect(n, alpha, power),
        achieved=None if n is None else _achieved(delta / deviation, n, alpha),
    )


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
