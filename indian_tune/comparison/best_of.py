"""Best of n trials, with bands that are valid for random search.

The median of the best of n independent trials is the quantile 2^(-1/n) of one trial's value. A band
of the distribution (Dvoretzky, Kiefer and Wolfowitz, with Massart's constant) is a band of all
quantiles at once, whatever the distribution (Lourie, Cho and He, NAACL 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.comparison.metric_names import Better


@dataclass(frozen=True)
class BestOf:
    """The median of the best of n trials of one arm.

    Attributes:
        arm: the arm.
        metric: what trials were scored by.
        trials: that were made, of all searches together.
        budget: of one search.
        n: numbers of trials, from 1 to the budget.
        median: of the best of so many; NaN if it is a trial that failed.
        worse: end of the band where the value is worse; NaN where it has none.
        better: end where it is better; likewise.
    """

    arm: str
    metric: str
    trials: int
    budget: int
    n: tuple[int, ...]
    median: tuple[float, ...]
    worse: tuple[float, ...]
    better: tuple[float, ...]

    def at(self, n: int) -> float:
        """Return the median of the best of n trials."""
        return self.median[min(n, len(self.n)) - 1]


def best_of(
    trials: pd.DataFrame, metric: str, better: Better, alpha: float = 0.05
) -> tuple[BestOf, ...]:
    """Return the curve of every arm.

    Args:
        trials: columns arm, replicate, trial and value (NaN for one that failed).
        metric: what the value is of.
        better: whether a lower or a higher value is better.
        alpha: level of the band as a whole.
    """
    sign = 1.0 if better == "higher" else -1.0
    found = []
    for arm, own in trials.groupby("arm", sort=False):
        values = sign * own["value"].to_numpy(dtype=np.float64)
        values = np.sort(np.where(np.isnan(values), -np.inf, values))
        budget = int(own.groupby("replicate").size().max())
        n = np.arange(1, budget + 1)
        share = 0.5 ** (1 / n)
        width = math.sqrt(math.log(2 / alpha) / (2 * len(values)))
        found.append(
            BestOf(
                arm=str(arm),
                metric=metric,
                trials=len(values),
                budget=budget,
                n=tuple(n.tolist()),
                median=_finite(sign * _quantile(values, share)),
                worse=_finite(sign * _quantile(values, share - width)),
                better=_finite(sign * _quantile(values, share + width)),
            )
        )
    return tuple(found)


def _quantile(values: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the smallest value that a share of all does not exceed; infinite outside (0, 1]."""
    place = np.ceil(share * len(values) - 1e-9).astype(int) - 1
    inside = values[np.clip(place, 0, len(values) - 1)]
    return np.where(place < 0, -np.inf, np.where(place >= len(values), np.inf, inside))


def _finite(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.where(np.isfinite(values), values, np.nan).tolist())
