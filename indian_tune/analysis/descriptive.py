"""Compares two arms on any metric that is readable before test results are unsealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from indian_tune.analysis.ends import stuck
from indian_tune.analysis.estimates import CONFIDENCE, bounds
from indian_tune.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Look:
    """Two arms at their last epoch, seed by seed, or search by search where there are several.

    Attributes:
        name: of the comparison.
        unit: ``"seeds"``, or ``"searches"`` of a study that searches every arm several times.
        estimate: mean difference over the units with a pair of runs that trained; NaN without one.
        low: lower end of the two-sided interval over units; minus infinity with one unit.
        high: upper end.
        differences: the paired differences.
        searches: their mean in every search that has a pair.
        left_out: pairs of which a run failed.
    """

    name: str
    unit: Literal["seeds", "searches"]
    estimate: float
    low: float
    high: float
    differences: tuple[float, ...]
    searches: tuple[float, ...]
    left_out: int

    @property
    def count(self) -> int:
        """How many units the interval rests on."""
        return len(self.searches if self.unit == "searches" else self.differences)


def final_contrast(
    frame: pd.DataFrame,
    arm: str,
    baseline: str,
    metric: str,
    *,
    least: float | None = None,
) -> Look:
    """Compare two arms at their last epoch by a 95 % paired t interval.

    Runs are paired by seed. Of several searches of every arm each counts once, by the mean of its
    pairs: the seeds of one search share its winners, and are not independent.

    Args:
        frame: one row per run and epoch, with the columns arm, seed, epoch and ``metric``; one
            run per arm and seed, and per replicate where there are several.
        arm: value of the column ``arm``.
        baseline: likewise.
        metric: a column.
        least: training accuracy of a run that has trained; those below it have failed.

    Raises:
        InputError: an arm is missing, a run is given twice, the seeds of the two arms differ, or a
            final value of a run that did not fail is not finite.
    """
    first, second = (_final(frame, name, metric, least) for name in (arm, baseline))
    if first.keys() != second.keys():
        lone = sorted(seed for _, seed in first.keys() ^ second.keys())
        raise InputError(
            f"arms {arm!r} and {baseline!r} cannot be paired: only one of them has seeds {lone}. "
            "Run every arm on the same seeds"
        )
    by_search: dict[int, list[float]] = {}
    for key in sorted(first):
        a, b = first[key], second[key]
        if a is not None and b is not None:
            by_search.setdefault(key[0], []).append(a - b)
    kept = [value for values in by_search.values() for value in values]
    searches = tuple(float(np.mean(values)) for values in by_search.values())
    several = len({search for search, _ in first}) > 1
    level = (1 - CONFIDENCE) / 2
    made = bounds(np.array((searches if several else kept) or [np.nan]), level, level)
    return Look(
        name=f"{arm} - {baseline}",
        unit="searches" if several else "seeds",
        estimate=float(made.mean),
        low=float(made.low),
        high=float(made.high),
        differences=tuple(kept),
        searches=searches,
        left_out=len(first) - len(kept),
    )


def _final(
    frame: pd.DataFrame, arm: str, metric: str, least: float | None
) -> dict[tuple[int, int], float | None]:
    """Return the value of every run of an arm by search and seed; ``None`` if it failed."""
    rows = frame[frame["arm"] == arm]
    if rows.empty:
        known = ", ".join(map(repr, sorted(frame["arm"].unique()))) or "none"
        raise InputError(f"arm {arm!r} is not in the frame: its arms are {known}")
    if "replicate" not in rows:
        rows = rows.assign(replicate=0)
    if rows.duplicated(["replicate", "seed", "epoch"]).any():
        raise InputError(f"arm {arm!r} has a seed and epoch twice: give one run per arm and seed")
    last = rows.loc[rows.groupby(["replicate", "seed"])["epoch"].idxmax()]
    failed = np.zeros(len(last), dtype=bool)
    if "run_state" in last:
        failed |= (last["run_state"] == "diverged").to_numpy()
    if "train_accuracy" in last:
        failed |= stuck(last["train_accuracy"].to_numpy(float), least)
    values = last[metric].to_numpy(float)
    broken = sorted(last["seed"][~failed & ~np.isfinite(values)].tolist())
    if broken:
        raise InputError(f"arm {arm!r} has no finite {metric} for seeds {broken}")
    return {
        (int(replicate), int(seed)): None if bad else float(value)
        for replicate, seed, value, bad in zip(
            last["replicate"], last["seed"], values, failed, strict=True
        )
    }
