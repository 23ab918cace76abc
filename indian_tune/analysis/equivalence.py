"""Equivalence to no effect: two one-sided tests (TOST)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from indian_tune.analysis.contrasts import paired_t

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests (TOST) that an effect lies within ±``margin``.

    Attributes:
        name: of the effect.
        scale: "accuracy" (shares) or "logit".
        estimate: mean over seeds on that scale.
        low: lower bound.
        high: upper bound.
        margin: half-width of the region of equivalence, on that scale.
        p: larger of the two p-values.
        equivalent: whether ``p`` is below the level.
        n: number of seeds.
    """

    name: str
    scale: Literal["accuracy", "logit"]
    estimate: float
    low: float
    high: float
    margin: float
    p: float
    equivalent: bool
    n: int


def equivalence(
    name: str,
    differences: NDArray[np.float64],
    margin: float,
    alpha: float,
    *,
    scale: Literal["accuracy", "logit"] = "accuracy",
) -> Equivalence:
    """Test whether a mean paired difference lies within ±``margin``.

    Args:
        name: of the effect.
        differences: paired differences [seeds], at least two.
        margin: above 0, on the scale of the differences.
        alpha: level.
        scale: of the differences.
    """
    from statsmodels.stats.weightstats import ttost_paired

    made = paired_t(differences, alpha)
    if made.deviation == 0:
        p = float(not -margin < made.mean < margin)
    else:
        p = float(ttost_paired(differences, np.zeros_like(differences), -margin, margin)[0])
    return Equivalence(
        name=name,
        scale=scale,
        estimate=float(made.mean),
        low=float(made.low),
        high=float(made.high),
        margin=margin,
        p=p,
        equivalent=p < alpha,
        n=len(differences),
    )
