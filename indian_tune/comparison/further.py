"""How many further seeds would settle a comparison, and with what probability.

The answer is predictive: mean and variance are drawn from their posterior given the runs (Jeffreys'
prior), the further seeds from these, and counted is how often the interval of all seeds together is
settled. Nothing is assumed of the effect but what the runs say of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DRAWS = 4000
WANTED = 0.8
# Numbers of further units that are tried.
STEPS = (
    *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30, 35, 40, 50, 60, 70, 80, 100),
    *(120, 150, 200, 250, 300, 400, 500, 700, 1000),
)


@dataclass(frozen=True)
class Further:
    """What further units would do.

    Attributes:
        units: number of further units of each arm.
        probability: of a label other than INCONCLUSIVE with these.
        enough: whether that is as probable as was asked for; else it is the most that was tried.
    """

    units: int
    probability: float
    enough: bool


def further(groups: Sequence[NDArray[np.float64]], delta: float, alpha: float) -> Further | None:
    """Return how many further units settle a comparison with the probability that is wanted.

    Args:
        groups: the paired differences, [pairs]; or the values of both arms, more being better.
        delta: smallest effect of interest; 0 for none.
        alpha: level of the two-sided interval.

    Returns:
        ``None`` where a group has fewer than two values or no spread.
    """
    if any(len(values) < 2 or np.ptp(values) == 0 for values in groups):
        return None
    tried = [(more, settled(groups, more, delta, alpha)) for more in STEPS]
    for more, probability in tried:
        if probability >= WANTED:
            return Further(more, probability, enough=True)
    most, probability = tried[-1]
    return Further(most, probability, enough=False)


def settled(groups: Sequence[NDArray[np.float64]], more: int, delta: float, alpha: float) -> float:
    """Return the predictive probability that the interval is settled after ``more`` units."""
    rng = np.random.default_rng(more)
    means, variances, freedoms = [], [], []
    for values in groups:
        n = len(values)
        mean, square = values.mean(), ((values - values.mean()) ** 2).sum()
        variance = square / rng.chisquare(n - 1, DRAWS)
        centre = mean + np.sqrt(variance / n) * rng.standard_normal(DRAWS)
        new = centre + np.sqrt(variance / more) * rng.standard_normal(DRAWS)
        inside = variance * (rng.chisquare(more - 1, DRAWS) if more > 1 else 0.0)
        whole = n + more
        between = n * more / whole * (new - mean) ** 2
        means.append((n * mean + more * new) / whole)
        variances.append((square + inside + between) / (whole - 1) / whole)
        freedoms.append(whole - 1)
    difference = means[0] - (means[1] if len(means) > 1 else 0.0)
    total = sum(variances)
    freedom = total**2 / sum(v**2 / df for v, df in zip(variances, freedoms, strict=True))
    half = special.stdtrit(freedom, 1 - alpha / 2) * np.sqrt(total)
    return float(((difference - half > 0) | (difference + half < delta)).mean())
