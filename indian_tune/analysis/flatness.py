"""How flat the arms end, beside how well they generalise. Descriptive: no verdict rests on it.

Flatness follows the effective learning rate, so arms are to be compared at equal γ0/α, and a
difference says nothing about what caused a difference in accuracy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from indian_tune.analysis.estimates import CONFIDENCE

if TYPE_CHECKING:
    import pandas as pd

MEASURES = {
    "top_eigenvalue": "largest Hessian eigenvalue",
    "trace": "Hessian trace",
    "sharpness": "adaptive sharpness, worst case",
    "average_sharpness": "adaptive sharpness, average",
}
"""Columns of a frame of flatness, in words."""


@dataclass(frozen=True)
class ArmFlatness:
    """One measure of one arm over its runs on the fresh seeds.

    Attributes:
        arm: name of the arm.
        measure: key of ``MEASURES``.
        mean: over runs in which the measure is finite; NaN without one.
        low: of the 95 % t interval of the mean; NaN with fewer than two such runs.
        high: likewise.
        n: number of those runs.
        rate: effective learning rate γ0/α of the arm; ``None`` where it is not known.
    """

    arm: str
    measure: str
    mean: float
    low: float
    high: float
    n: int
    rate: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dataclasses.asdict(self)


def summarise_flatness(frame: pd.DataFrame) -> list[ArmFlatness]:
    """Return every measure of every arm, in the order of the frame.

    Args:
        frame: a row per run: columns arm, seed, effective_learning_rate (one value per arm; NaN
            where it has no meaning) and those of ``MEASURES``.
    """
    found = []
    for arm, part in frame.groupby("arm", sort=False):
        for measure in MEASURES:
            values = part[measure].to_numpy(dtype=np.float64)
            values = values[np.isfinite(values)]
            n = len(values)
            mean = float(values.mean()) if n else np.nan
            half = np.nan
            if n > 1:
                half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(values))
            rate = float(part["effective_learning_rate"].iloc[0])
            found.append(
                ArmFlatness(
                    str(arm),
                    measure,
                    mean,
                    mean - half,
                    mean + half,
                    n,
                    rate if np.isfinite(rate) else None,
                )
            )
    return found
