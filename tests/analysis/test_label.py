"""The table from bounds to labels."""

from __future__ import annotations

import math

import pytest

from indian_tune.analysis import Label, label_of


@pytest.mark.parametrize(
    ("low", "high", "label"),
    [
        (0.001, 0.005, Label.SUPPORTED),
        (0.006, 0.02, Label.SUPPORTED),
        (0.001, 0.0049, Label.NEGLIGIBLE),
        (0.0, 0.0049, Label.REFUTED),
        (-0.02, -0.01, Label.REFUTED),
        (0.0, 0.005, Label.INCONCLUSIVE),
        (-0.01, 0.02, Label.INCONCLUSIVE),
        (-math.inf, math.inf, Label.INCONCLUSIVE),
    ],
)
def test_the_label_follows_from_the_bounds(low: float, high: float, label: Label) -> None:
    assert label_of(low, high, 0.005) is label
