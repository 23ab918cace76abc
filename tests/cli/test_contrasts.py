"""Tables of differences with intervals that people can read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from indian_tune.analysis.descriptive import final_contrast
from indian_tune.cli.contrasts import interval_text
from indian_tune.comparison.intervals import paired_difference
from indian_tune.outcome import ACCURACY
from indian_tune.service.replaying import with_interval


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [
        ([0.5, 0.6, 0.7], "equal in all seeds"),
        ([0.75, 0.85, 0.95], "–"),
        ([0.5], "–"),
        ([0.6, 0.6, 0.7], "-11.01, +17.68"),
    ],
)
def test_a_difference_without_spread_has_no_interval(accuracies: list[float], text: str) -> None:
    values = {"a": accuracies, "b": [0.5, 0.6, 0.7][: len(accuracies)]}
    frame = pd.DataFrame(
        {"arm": arm, "seed": seed, "epoch": 1, "accuracy": value}
        for arm, row in values.items()
        for seed, value in enumerate(row)
    )
    assert interval_text(final_contrast(frame, "a", "b", "accuracy"), ACCURACY) == text


def test_replayed_methods_that_are_equal_in_every_search_have_no_interval() -> None:
    assert with_interval(paired_difference(np.zeros(3), 0.05)) == "0.0000 (–)"
    spread = paired_difference(np.array([0.0, 0.1]), 0.05)
    assert with_interval(spread) == "0.0500 (-0.5853, 0.6853)"
