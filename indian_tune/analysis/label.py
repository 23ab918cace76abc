"""The label of a result, from its bounds."""

from __future__ import annotations

from enum import StrEnum


class Label(StrEnum):
    """What is said of a contrast, of a hypothesis, or of the claim as a whole.

    The first four follow from the bounds (see :func:`label_of`). The others stand in their place:
    NOT TESTED where the study lacks an arm, EXPLORATORY where the test was not registered,
    DESCRIPTIVE where the study registered that it gives no verdict.
    """

    SUPPORTED = "SUPPORTED"
    NEGLIGIBLE = "NEGLIGIBLE"
    REFUTED = "REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_TESTED = "NOT TESTED"
    EXPLORATORY = "EXPLORATORY"
    DESCRIPTIVE = "DESCRIPTIVE"


def label_of(low: float, high: float, delta: float) -> Label:
    """Return the label that follows from the bounds of an effect.

    Args:
        low: one-sided lower bound of the effect, a share; minus infinity when nothing is known.
        high: one-sided upper bound.
        delta: smallest effect of interest, above 0.
    """
    if low > 0:
        return Label.SUPPORTED if high >= delta else Label.NEGLIGIBLE
    return Label.REFUTED if high < delta else Label.INCONCLUSIVE
