"""Paired contrasts of two arms over the seeds they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from indian_tune.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PairedContrast:
    """The mean difference of two arms over seeds, with its t interval.

    Attributes:
        arm: the first arm.
        baseline: the second arm.
        metric: column that was compared, at the last epoch.
        estimate: mean of ``arm`` minus ``baseline``, in the metric's unit.
        low: lower end of the two-sided interval; ``None`` for fewer than two seeds.
        high: upper end.
        confidence: of the interval.
        n: number of seeds.
    """

    arm: str
    baseline: str
    metric: str
    estimate: float
    low: float | None
    high: float | None
    confidence: float
    n: int


def paired_contrast(
    frame: pd.DataFrame, arm: str, baseline: str, metric: str, *, confidence: float = 0.95
) -> PairedContrast:
    """Compare two arms at their last epoch, seed by seed (a paired t interval).

    Args:
        frame: one row per run and epoch, with the columns arm, seed, epoch and ``metric``; one
            run per arm and seed.
        arm: value of the column ``arm``.
        baseline: likewise.
        metric: a column.
        confidence: of the two-sided interval, in (0, 1).

    Raises:
        InputError: an arm is not there, a run stands twice, the seeds of the two arms differ, or a
            final value is not finite. Nothing is dropped to make the comparison possible.
    """
    first, second = (_final(frame, name, metric) for name in (arm, baseline))
    if first.keys() != second.keys():
        lone = sorted(first.keys() ^ second.keys())
        raise InputError(
            f"arms {arm!r} and {baseline!r} cannot be paired: only one of them has seeds {lone}"
        )
    differences = np.array([first[seed] - second[seed] for seed in sorted(first)])
    low = high = None
    if len(differences) > 1:
        if np.ptp(differences) == 0:
            low = high = float(differences[0])
        else:
            interval = stats.ttest_1samp(differences, 0.0).confidence_interval(confidence)
            low, high = float(interval.low), float(interval.high)
    return PairedContrast(
        arm=arm,
        baseline=baseline,
        metric=metric,
        estimate=float(differences.mean()),
        low=low,
        high=high,
        confidence=confidence,
        n=len(differences),
    )


def _final(frame: pd.DataFrame, arm: str, metric: str) -> dict[int, float]:
    rows = frame[frame["arm"] == arm]
    if rows.empty:
        known = ", ".join(map(repr, sorted(frame["arm"].unique()))) or "none"
        raise InputError(f"arm {arm!r} is not in the frame: it holds {known}")
    if rows.duplicated(["seed", "epoch"]).any():
        raise InputError(f"arm {arm!r} has a seed and epoch twice: give one run per arm and seed")
    last = rows.loc[rows.groupby("seed")["epoch"].idxmax()]
    values = {
        int(seed): float(value) for seed, value in zip(last["seed"], last[metric], strict=True)
    }
    broken = sorted(seed for seed, value in values.items() if not np.isfinite(value))
    if broken:
        raise InputError(f"arm {arm!r} has no finite {metric} for seeds {broken}")
    return values
