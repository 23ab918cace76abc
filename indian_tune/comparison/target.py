"""Steps to a target: how many runs of an arm reach it, and after how many steps.

A run that does not reach it took longer than it ran. Medians and their intervals are order
statistics, which such runs do not disturb; a ratio of two arms needs that all runs reach it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from indian_tune.comparison.intervals import Difference, paired_difference, unpaired_difference
from indian_tune.comparison.runs import KEYS
from indian_tune.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.comparison.runs import Runs


@dataclass(frozen=True)
class Reaching:
    """How the runs of one arm reach a target.

    Attributes:
        arm: the arm.
        runs: its runs.
        reached: of these.
        median: steps that half of the runs need; infinite if fewer reach it.
        low: lower end of the interval of the median.
        high: upper end; infinite likewise.
        coverage: of that interval, at least what was asked for, or the most that so few runs allow.
        steps: of every run, sorted; infinite for one that does not reach it.
    """

    arm: str
    runs: int
    reached: int
    median: float
    low: float
    high: float
    coverage: float
    steps: tuple[float, ...]


@dataclass(frozen=True)
class ToTarget:
    """Steps to a target in two arms.

    Attributes:
        target: value of the metric.
        arms: each by itself.
        ratio: steps of A over steps of B (geometric mean, with its interval); ``None`` where a run
            does not reach the target.
    """

    target: float
    arms: tuple[Reaching, ...]
    ratio: Difference | None


def steps_to(runs: Runs, target: float) -> pd.DataFrame:
    """Return the step of every run at which it first reaches a target, infinite if it does not.

    Args:
        runs: with curves.
        target: value of the metric.

    Returns:
        Columns of ``KEYS`` and reached.

    Raises:
        InputError: the source has no steps.
    """
    if runs.curves is None:
        raise InputError(
            f"target = {target:g} needs the values of every step, but the source has one value "
            "per run: give the column of the step with --map step=COLUMN, or remove --target"
        )
    curves = runs.curves
    there = runs.sign * (curves["value"] - target) >= 0
    first = curves["step"].where(there, math.inf)
    return (
        first.groupby([curves[key] for key in KEYS], sort=False)
        .min()
        .rename("reached")
        .reset_index()
    )


def to_target(runs: Runs, a: str, b: str, target: float, *, paired: bool, alpha: float) -> ToTarget:
    """Return how two arms reach a target.

    Args:
        runs: with curves, of one task.
        a: the first arm.
        b: the second.
        target: value of the metric.
        paired: whether their runs are paired by seed.
        alpha: level of the intervals.
    """
    if not math.isfinite(target):
        raise InputError(f"target = {target!r} must be a number")
    table = steps_to(runs, target)
    own = {
        arm: table[table["arm"] == arm].set_index(KEYS[1:])["reached"].sort_index()
        for arm in (a, b)
    }
    first, second = own[a], own[b]
    if paired:
        first, second = first.align(second, join="inner")
    steps = [part.to_numpy(dtype=np.float64) for part in (first, second)]
    ratio = None
    if all(len(part) and np.isfinite(part).all() and (part > 0).all() for part in steps):
        logs = [np.log(part) for part in steps]
        made = (
            paired_difference(logs[0] - logs[1], alpha)
            if paired
            else unpaired_difference(logs[0], logs[1], alpha)
        )
        ratio = Difference(
            _exp(made.estimate),
            _exp(made.low),
            _exp(made.high),
            made.error,
            made.freedom,
            made.n,
        )
    arms = tuple(_reaching(arm, part, alpha) for arm, part in zip((a, b), steps, strict=True))
    return ToTarget(target, arms, ratio)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


def _reaching(arm: str, steps: NDArray[np.float64], alpha: float) -> Reaching:
    ordered = np.sort(steps)
    n = len(ordered)
    # The widest interval leaves out half of a binomial's ends; narrower ones while they hold alpha.
    below = int(stats.binom.ppf(alpha / 2, n, 0.5))
    while below > 0 and 2 * stats.binom.cdf(below - 1, n, 0.5) > alpha:
        below -= 1
    place = max(below - 1, 0)
    coverage = 1 - 2 * float(stats.binom.cdf(place, n, 0.5))
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return Reaching(
        arm=arm,
        runs=n,
        reached=int(np.isfinite(ordered).sum()),
        median=float(middle),
        low=float(ordered[place]),
        high=float(ordered[n - 1 - place]),
        coverage=max(coverage, 0.0),
        steps=tuple(ordered.tolist()),
    )
