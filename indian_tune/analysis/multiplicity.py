"""Several contrasts at once: all of them, or which of them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.contrasts import paired_t

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.verdict import Contrast


@dataclass(frozen=True)
class Smallest:
    """The smallest of several effects, for "all of them hold".

    Attributes:
        contrast: the contrast of smallest estimate.
        estimate: its estimate.
        low: lower bound of the smallest effect: the smallest of the lower bounds, each at the
            level of one test (intersection-union needs no correction).
        high: upper bound of the smallest effect: the smallest of the upper bounds, each at
            ``alpha`` divided by their number, since any of them may refute.
        p: largest p-value.
    """

    contrast: Contrast
    estimate: float
    low: float
    high: float
    p: float


def all_of(contrasts: Sequence[Contrast], alpha: float) -> Smallest:
    """Return the smallest of several effects with its bounds.

    Args:
        contrasts: at least one, with bounds at the level ``alpha``.
        alpha: one-sided level.
    """
    least = min(contrasts, key=lambda made: made.estimate)
    high = math.inf
    if least.n > 1:
        differences = np.array([made.differences for made in contrasts])
        high = float(paired_t(differences, alpha / len(contrasts)).high.min())
    return Smallest(
        contrast=least,
        estimate=least.estimate,
        low=min(made.low for made in contrasts),
        high=high,
        p=max(made.p for made in contrasts),
    )


def holm(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Return the contrasts with p-values adjusted by Holm's method over all of them."""
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests([made.p for made in contrasts], method="holm")[1]
    return tuple(
        dataclasses.replace(made, p_adjusted=float(p))
        for made, p in zip(contrasts, adjusted, strict=True)
    )
