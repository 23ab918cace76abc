from __future__ import annotations

import math

import pytest

from indian_tune.cli.curve import curve


def test_a_curve_falls_from_the_highest_to_the_lowest_value() -> None:
    assert curve([4.0, 3.0, 2.0, 1.0], width=4, height=2).splitlines() == [
        "      4 ┤█▃  ",
        "      1 ┤██▆▁",
        "  epoch  1  4",
    ]


def test_few_epochs_are_drawn_wide_and_many_are_thinned_to_the_last_one() -> None:
    wide = curve([2.0, 1.0], width=6, height=1).splitlines()
    assert wide == ["      1 ┤███▁▁▁", "  epoch  1    2"]
    many = curve([1.0] * 99 + [2.0], width=10, height=1).splitlines()
    assert many == ["      1 ┤▁▁▁▁▁▁▁▁▁█", "  epoch  1      100"]


def test_an_epoch_that_was_not_finite_is_a_gap_and_a_flat_curve_has_one_label() -> None:
    assert curve([1.0, math.nan, math.inf, 1.0], width=4, height=2).splitlines() == [
        "        │    ",
        "      1 ┤▁  ▁",
        "  epoch  1  4",
    ]


@pytest.mark.parametrize("epochs", [1, 2, 13, 28, 29, 200, 1000])
def test_a_curve_keeps_within_its_width(epochs: int) -> None:
    lines = curve([1 / (k + 1) for k in range(epochs)]).splitlines()
    assert max(map(len, lines)) <= 9 + 28
    assert len(lines) == 6
