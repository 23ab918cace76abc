"""Paired contrasts of two arms over the seeds they share.

A mixed model with z-tests is anti-conservative with few seeds, and arms share their seeds' effects:
the differences within a seed and a t-test over them hold the level from two seeds on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from indian_tune.analysis.label import Label, label_of
from indian_tune.analysis.verdict import Contrast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Up to here all 2^n signs are tried, above as many random ones as RESAMPLES.
EXACT_SEEDS = 13
RESAMPLES = 9_999


@dataclass(frozen=True)
class PairedT:
    """One-sample t statistics of paired differences, arrays [...].

    Attributes:
        mean: of the differences.
        deviation: their standard deviation.
        low: one-sided lower bound of the mean.
        high: one-sided upper bound.
        p: one-sided p-value of "the mean is not above 0".
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p: NDArray[np.float64]


def paired_t(differences: NDArray[np.float64], alpha: float) -> PairedT:
    """Return the one-sided t test and the bounds of mean differences.

    Differences that are all equal have no spread: their mean is taken as known.

    Args:
        differences: [..., seeds], at least two seeds.
        alpha: one-sided level of the bounds.
    """
    n = differences.shape[-1]
    mean = differences.mean(-1)
    deviation = np.where(np.ptp(differences, axis=-1) == 0, 0.0, differences.std(-1, ddof=1))
    error = deviation / math.sqrt(n)
    known = error == 0
    t = mean / np.where(known, 1.0, error)
    p = np.where(known, np.where(mean > 0, 0.0, 1.0), special.stdtr(n - 1, -t))
    reach = special.stdtrit(n - 1, 1 - alpha) * error
    return PairedT(mean, deviation, mean - reach, mean + reach, p)


def sign_flip(differences: Sequence[float]) -> float:
    """Return the one-sided p-value of permuting the signs of paired differences.

    Exact up to ``EXACT_SEEDS`` seeds; above, ``RESAMPLES`` random signs and the observed ones.
    """
    n = len(differences)
    made = stats.permutation_test(
        (np.asarray(differences, dtype=np.float64),),
        lambda values, axis: values.mean(axis=axis),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=np.inf if n <= EXACT_SEEDS else RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(made.pvalue)


def contrast(
    differences: NDArray[np.float64],
    seeds: Sequence[int],
    *,
    arm: str,
    baseline: str,
    outcome: str,
    alpha: float,
    delta: float | None,
    name: str | None = None,
    flips: bool = True,
) -> Contrast:
    """Return one paired comparison.

    Args:
        differences: of ``arm`` and ``baseline`` in the order of ``seeds``, finite.
        seeds: the seeds.
        arm: the first arm.
        baseline: the second.
        outcome: what was compared.
        alpha: one-sided level.
        delta: smallest effect of interest; ``None`` where nothing is judged.
        name: of the contrast; "arm - baseline" by default.
        flips: whether to permute signs as well.
    """
    n = len(seeds)
    low, high, p, deviation = -math.inf, math.inf, 1.0, None
    if n > 1:
        made = paired_t(differences, alpha)
        low, high, p = float(made.low), float(made.high), float(made.p)
        deviation = float(made.deviation)
    return Contrast(
        name=name or f"{arm} - {baseline}",
        arm=arm,
        baseline=baseline,
        outcome=outcome,
        estimate=float(differences.mean()),
        low=low,
        high=high,
        p=p,
        p_sign_flip=sign_flip(differences.tolist()) if flips and n > 1 else None,
        p_adjusted=None,
        deviation=deviation,
        n=n,
        seeds=tuple(seeds),
        differences=tuple(differences.tolist()),
        label=Label.DESCRIPTIVE if delta is None else label_of(low, high, delta),
    )
