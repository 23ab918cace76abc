"""Means over searches with one-sided bounds.

The unit is the search: its value is the mean of the paired differences of its seeds. A bound is of
a t over the searches, widened where the test examples vary by more than the searches show.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


# Of the two-sided intervals of what is described, and judged by nothing.
CONFIDENCE = 0.95


class Bounds(NamedTuple):
    """Means with one-sided bounds, arrays [...].

    Attributes:
        mean: over units.
        deviation: standard deviation between units; exactly 0 where all are equal.
        low: one-sided lower bound of the mean.
        high: one-sided upper bound.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def bounds(
    values: NDArray[np.float64],
    alpha: float,
    alpha_high: float,
    extra: ArrayLike = 0.0,
    size: float = 1.0,
) -> Bounds:
    """Return means with bounds: lower at the level ``alpha``, upper at ``alpha_high``.

    Without a spread nothing is known, and both bounds are infinite.

    Args:
        values: [..., units], at least one unit.
        alpha: one-sided level of the lower bound.
        alpha_high: one-sided level of the upper bound.
        extra: variance that the examples add to that of the mean, [...]; negative is none.
        size: of the scores that the values are differences of; a spread of 1e-12 of it is rounding.
    """
    n = values.shape[-1]
    mean = values.mean(-1)
    if n < 2:
        nothing = np.full(mean.shape, math.inf)
        return Bounds(mean, np.zeros(mean.shape), -nothing, nothing)
    equal = np.ptp(values, axis=-1) <= 1e-12 * np.maximum(size, np.abs(mean))
    deviation = np.where(equal, 0.0, values.std(-1, ddof=1))
    error = np.sqrt(deviation**2 / n + np.maximum(np.asarray(extra), 0))
    error = np.where(equal, math.inf, error)
    low, high = (special.stdtrit(n - 1, 1 - level) * error for level in (alpha, alpha_high))
    return Bounds(mean, deviation, mean - low, mean + high)


def example_variance(differences: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the variance that a finite test set adds to that of a mean over units.

    With the mean squares of units (R), examples (I) and the rest (E) over R units and N examples
    this is (MS_I - MS_E) / (R N); it makes the variance of the mean max(MS_R, MS_R + MS_I - MS_E)
    / (R N).

    Args:
        differences: correctness of one arm minus another's, [..., units, examples].
    """
    units, examples = differences.shape[-2:]
    if units < 2 or examples < 2:
        return np.zeros(differences.shape[:-2])
    of_unit = differences.mean(-1, dtype=np.float64)
    of_example = differences.mean(-2, dtype=np.float64)
    squares = np.einsum("...ri,...ri->...", differences, differences, dtype=np.float64)
    centre = of_unit.mean(-1)
    unit_sum = examples * (of_unit**2).sum(-1)
    example_sum = units * (of_example**2).sum(-1)
    whole = units * examples * centre**2
    between = (example_sum - whole) / (examples - 1)
    rest = (squares - unit_sum - example_sum + whole) / ((units - 1) * (examples - 1))
    return np.asarray((between - rest) / (units * examples))
