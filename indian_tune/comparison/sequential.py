"""An interval that holds after every seed: a confidence sequence for paired differences.

The t statistic of normal differences is invariant to their scale. With a normal prior of variance g
on the effect over its deviation, and the right Haar prior on the deviation, its likelihood ratio

    (1 + n g)^(-1/2) [(1 + t²/ν) / (1 + t²/(ν (1 + n g)))]^(n/2),  ν = n - 1,

is a nonnegative martingale of mean 1 where there is no effect (Gönen et al., The American
Statistician 2005; Hendriksen, de Heide and Grünwald, Bayesian Analysis 2021), so that by Ville's
inequality it ever exceeds 1/α with a probability of at most α. Solved for the effect it is an
interval around the mean.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.label import Label, label_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# With 3, intervals have ends from the fourth difference on; at ten their width is 1.7 times a t's.
PRIOR_VARIANCE = 3.0


@dataclass(frozen=True)
class Look:
    """The interval after one more unit.

    Attributes:
        unit: the seed or search that came last.
        n: differences so far.
        estimate: their mean.
        low: lower end of what all intervals so far have in common; minus infinity while nothing is
            known. Where that does not hold the mean, the end of the interval of this look alone.
        high: upper end, likewise.
        label: what the interval says; INCONCLUSIVE where it is of this look alone.
    """

    unit: str
    n: int
    estimate: float
    low: float
    high: float
    label: Label


@dataclass(frozen=True)
class ConfidenceSequence:
    """A confidence sequence.

    Attributes:
        looks: one after every unit.
        settled_at: number of differences at which it was settled first; ``None`` if it is not.
        label: at the last look.
        drifts: whether the mean has left what earlier intervals allowed, so that the differences
            seem to change in their course and nothing is settled.
    """

    looks: tuple[Look, ...]
    settled_at: int | None
    label: Label
    drifts: bool = False


def fewest(alpha: float) -> int:
    """Return after how many differences that vary there is an interval."""
    return next(n for n in itertools.count(1) if np.isfinite(_ratios(np.array([n]), alpha))[0])


def half_widths(
    values: NDArray[np.float64], alpha: float, size: float = 0.0
) -> NDArray[np.float64]:
    """Return half the width of the interval after every difference.

    Args:
        values: differences, [..., n].
        alpha: level of the whole sequence.
        size: largest absolute value that they are differences of; at least their own.

    Returns:
        [..., n]; infinite where all differences so far are equal, and before there are as many as
        :func:`fewest` says.
    """
    n = np.arange(1, values.shape[-1] + 1)
    # From the first value, so that a spread that is small beside the mean is not lost.
    moved = values - values[..., :1]
    squares = np.cumsum(moved**2, axis=-1) - np.cumsum(moved, axis=-1) ** 2 / n
    rounding = 1e-12 * np.maximum(size, np.abs(values[..., :1]))
    squares = np.where(squares <= rounding**2, np.inf, squares)
    half: NDArray[np.float64] = np.sqrt(_ratios(n, alpha) * squares / n)
    return half


def _ratios(n: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    spread = 1 + n * PRIOR_VARIANCE
    bound = (np.sqrt(spread) / alpha) ** (2 / n)
    with np.errstate(divide="ignore"):
        return np.where(bound < spread, (bound - 1) / (1 - bound / spread), np.inf)


def sequence(
    units: Sequence[str],
    values: NDArray[np.float64],
    delta: float,
    alpha: float,
    size: float = 0.0,
) -> ConfidenceSequence:
    """Return the confidence sequence of paired differences, in their order.

    Args:
        units: names of the seeds.
        values: differences, more is better, [n].
        delta: smallest effect of interest; 0 for none.
        alpha: level of the whole sequence.
        size: largest absolute value that they are differences of.
    """
    half = half_widths(values, alpha, size)
    means = np.cumsum(values) / np.arange(1, len(values) + 1)
    # All intervals hold the effect at once with probability 1 - alpha, and so does their common
    # part.
    lows = np.maximum.accumulate(means - half)
    highs = np.minimum.accumulate(means + half)
    fits = np.logical_and.accumulate((lows <= means) & (means <= highs))
    looks = []
    for n, unit in enumerate(units):
        low, high = (lows[n], highs[n]) if fits[n] else (means[n] - half[n], means[n] + half[n])
        label = label_of(float(low), float(high), delta) if fits[n] else Label.INCONCLUSIVE
        looks.append(Look(unit, n + 1, float(means[n]), float(low), float(high), label))
    drifts = not fits[-1]
    first = next((look for look in looks if look.label is not Label.INCONCLUSIVE), None)
    return ConfidenceSequence(
        tuple(looks),
        None if first is None or drifts else first.n,
        looks[-1].label,
        drifts=drifts,
    )
