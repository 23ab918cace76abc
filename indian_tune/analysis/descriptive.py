"""A look at two arms on whatever metric is open, before anything is unsealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.contrasts import contrast
from indian_tune.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from indian_tune.analysis.verdict import Contrast


def final_contrast(
    frame: pd.DataFrame, arm: str, baseline: str, metric: str, *, confidence: float = 0.95
) -> Contrast:
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
    seeds = sorted(first)
    return contrast(
        np.array([first[seed] - second[seed] for seed in seeds]),
        seeds,
        arm=arm,
        baseline=baseline,
        outcome=metric,
        alpha=(1 - confidence) / 2,
        delta=None,
        flips=False,
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
