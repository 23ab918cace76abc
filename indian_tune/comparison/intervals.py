"""Differences of two arms with intervals, the share of wins, and tests of failures."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special, stats

from indian_tune.analysis.estimates import bounds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """A difference with its two-sided interval.

    Attributes:
        estimate: NaN where nothing can be compared.
        low: lower end; minus infinity where there is no spread.
        high: upper end.
        error: standard error; infinite where nothing is known of it.
        freedom: degrees of freedom; NaN likewise.
        n: units behind it: pairs, or the runs of both arms.
        why: it has no ends: one unit, all equal, or too few for a sequence.
    """

    estimate: float
    low: float
    high: float
    error: float
    freedom: float
    n: int
    why: Literal["", "one", "equal", "few"] = ""

    @property
    def settled(self) -> bool:
        """Whether the interval has ends."""
        return math.isfinite(self.low)


@dataclass(frozen=True)
class Superiority:
    """P(A better than B) for one run of each, a failed run being worse than any other.

    Attributes:
        estimate: share of pairs in which A is better, ties counting half.
        low: lower end of its interval; NaN where none is made.
        high: upper end.
    """

    estimate: float
    low: float
    high: float


def largest(*values: NDArray[np.float64]) -> float:
    """Return the largest absolute value; NaN is none."""
    return max((float(np.nanmax(np.abs(part), initial=0.0)) for part in values), default=0.0)


def paired_difference(
    values: NDArray[np.float64], alpha: float, size: float | None = None
) -> Difference:
    """Return the mean of paired differences with its t interval.

    Args:
        values: [pairs].
        alpha: level of the two-sided interval.
        size: largest absolute value that they are differences of; their own if ``None``.
    """
    if not len(values):
        return Difference(math.nan, -math.inf, math.inf, math.inf, math.nan, 0)
    made = bounds(values, alpha / 2, alpha / 2, size=largest(values) if size is None else size)
    known = math.isfinite(float(made.low))
    error = float(made.deviation) / math.sqrt(len(values)) if known else math.inf
    freedom = float(len(values) - 1) if known else math.nan
    mean, low, high = float(made.mean), float(made.low), float(made.high)
    why: Literal["", "one", "equal"] = "" if known else "one" if len(values) < 2 else "equal"
    return Difference(mean, low, high, error, freedom, len(values), why)


def unpaired_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], alpha: float
) -> Difference:
    """Return the difference of two means with Welch's interval.

    Args:
        first: [runs], more is better.
        second: likewise.
        alpha: level of the two-sided interval.
    """
    counts = len(first), len(second)
    if not min(counts):
        return Difference(math.nan, -math.inf, math.inf, math.inf, math.nan, sum(counts))
    mean = float(first.mean() - second.mean())
    nothing = Difference(mean, -math.inf, math.inf, math.inf, math.nan, sum(counts), "equal")
    if min(counts) < 2:
        return replace(nothing, why="one")
    variances = [float(values.var(ddof=1)) / len(values) for values in (first, second)]
    if sum(variances) <= (1e-12 * largest(first, second)) ** 2:
        return nothing
    # From shares, whose squares neither overflow nor vanish.
    freedom = 1 / sum(
        (variance / sum(variances)) ** 2 / (n - 1)
        for variance, n in zip(variances, counts, strict=True)
    )
    error = math.sqrt(sum(variances))
    half = float(special.stdtrit(freedom, 1 - alpha / 2)) * error
    return Difference(mean, mean - half, mean + half, error, freedom, sum(counts))


def half_if_paired(difference: Difference, alpha: float, correlation: float) -> float:
    """Return half the interval that as many runs would have in pairs, were they to correlate so."""
    unpaired = (difference.high - difference.low) / 2
    freedom = max(difference.freedom / 2, 1.0)
    wider = special.stdtrit(freedom, 1 - alpha / 2) / special.stdtrit(
        difference.freedom, 1 - alpha / 2
    )
    return float(unpaired * np.sqrt(1 - correlation) * wider)


def tail(difference: Difference, at: float, *, above: bool) -> float:
    """Return the one-sided p of a difference that is not above, or not below, a value.

    Args:
        difference: that was measured.
        at: the value.
        above: whether it is asked for being above it.
    """
    if not difference.settled:
        return 1.0
    distance = (difference.estimate - at) / difference.error
    return float(special.stdtr(difference.freedom, -distance if above else distance))


def discordant_p(failed: NDArray[np.bool_]) -> float:
    """Return the exact p of McNemar's test of two columns of failures."""
    only_a = int((failed[:, 0] & ~failed[:, 1]).sum())
    only_b = int((failed[:, 1] & ~failed[:, 0]).sum())
    if not only_a + only_b:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def fisher_p(first: Iterable[float], second: Iterable[float]) -> float:
    """Return the exact p of Fisher's test of how many values of two arms are NaN."""
    table = []
    for own in (first, second):
        values = list(own)
        failed = sum(map(math.isnan, values))
        table.append([failed, len(values) - failed])
    if not table[0][0] + table[1][0]:
        return 1.0
    return float(stats.fisher_exact(table).pvalue)


def _ranks(sign: float, one: float, other: float) -> float:
    """Return 1 where A is better, ½ in a tie, 0 where B is; a failed run is the worst of all."""
    a, b = (-math.inf if math.isnan(value) else sign * value for value in (one, other))
    return 1.0 if a > b else 0.5 if a == b else 0.0


def paired_superiority(
    pairs: Sequence[tuple[str, float, float]], sign: float, alpha: float
) -> Superiority:
    """Return in what share of pairs A is better, with Clopper and Pearson's interval.

    Args:
        pairs: unit, value of A, value of B; NaN for a run that failed.
        sign: -1 where lower is better.
        alpha: level of the two-sided interval.
    """
    n = len(pairs)
    wins = sum(_ranks(sign, one, other) for _, one, other in pairs)
    if not n:
        return Superiority(math.nan, math.nan, math.nan)
    # Ties count half on both sides.
    low = float(special.betaincinv(wins, n - wins + 1, alpha / 2)) if wins > 0 else 0.0
    high = float(special.betaincinv(wins + 1, n - wins, 1 - alpha / 2)) if wins < n else 1.0
    return Superiority(wins / n, low, high)


def unpaired_superiority(
    first: NDArray[np.float64], second: NDArray[np.float64], alpha: float
) -> Superiority:
    """Return Mann and Whitney's share with Newcombe's interval.

    His method 5, Statistics in Medicine 25 (2006).
    """
    m, n = len(first), len(second)
    if not min(m, n):
        return Superiority(math.nan, math.nan, math.nan)
    a, b = (np.where(np.isnan(values), -np.inf, values) for values in (first, second))
    share = float(((a[:, None] > b) + 0.5 * (a[:, None] == b)).mean())
    z = float(special.ndtri(1 - alpha / 2))
    half = (m + n) / 2 - 1

    def beyond(theta: float) -> float:
        spread = 1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return abs(share - theta) - z * math.sqrt(theta * (1 - theta) * spread / (m * n))

    from scipy.optimize import brentq

    tiny = 1e-9
    low = 0.0 if share <= tiny else float(brentq(beyond, tiny, share - tiny))
    high = 1.0 if share >= 1 - tiny else float(brentq(beyond, share + tiny, 1 - tiny))
    return Superiority(share, low, high)
