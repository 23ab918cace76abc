from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indian_tune.reproduce import (
    Figure1,
    compute_figure1,
    differences,
    distance_to_din,
    draw_figure1,
    write_figure1,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def figure() -> Figure1:
    return compute_figure1()


def test_curves_have_the_published_start_length_and_settings(figure: Figure1) -> None:
    assert len(figure.curves) == 9
    for curve in figure.curves:
        assert curve.path.shape == (88_001, 2)
        assert curve.path[0].tolist() == [-1.0, 1.5]
        assert curve.values[0] == pytest.approx(27.0)
    fitted = [figure.curve("fitted", panel) for panel in "abc"]
    assert [(one.alpha, one.beta, one.speed) for one in fitted] == [
        (0.3, 0.01, 0.1),
        (0.3, 0.1, 0.1),
        (1.3, 0.1, 0.1),
    ]


def test_first_step_has_the_initial_velocity(figure: Figure1) -> None:
    grad = np.array([100.0 - 1.0, 100.0])
    for curve in figure.curves:
        step = curve.path[1] - curve.path[0]
        np.testing.assert_allclose(step, -curve.speed * figure.gamma * grad, rtol=1e-9)


def test_fitted_curves_end_near_the_minimum_as_published(figure: Figure1) -> None:
    for panel in "abc":
        assert np.abs(figure.curve("fitted", panel).path[-1] - 1).max() < 0.3
    assert figure.curve("fitted", "c").values[-1] < 1e-4


def test_panel_c_is_as_printed_and_the_others_are_not(figure: Figure1) -> None:
    printed = {one.panel: one for one in differences(figure) if one.variant == "printed"}
    assert printed["c"].largest == 0
    assert printed["c"].parted_at is None
    for panel in "ab":
        assert printed[panel].median > 0.1
        assert printed[panel].largest > 1
        assert (printed[panel].parted_at or 0) > 10_000


def test_start_of_the_text_leaves_the_published_frame(figure: Figure1) -> None:
    text = [one for one in differences(figure) if one.variant == "text"]
    assert all(one.largest_distance > 2 for one in text)


def test_step_size_of_the_figure_is_in_the_linear_regime_of_the_discretisation() -> None:
    for found in distance_to_din().values():
        assert found.order == pytest.approx(1.0, abs=0.03)
        assert found.errors[-1] < 3e-3


def test_figure_shows_each_variant_with_four_panels(figure: Figure1) -> None:
    canvas = draw_figure1(figure)
    titles = [axes.get_title(loc="left") for axes in canvas.axes]
    assert len(titles) == 8
    assert titles[0] == "(a)  $\\alpha$ = 0.5, $\\beta$ = 0.01"
    assert titles[4] == "(a)  $\\alpha$ = 0.3, $\\beta$ = 0.01"
    for axes, variant in ((canvas.axes[3], "printed"), (canvas.axes[7], "fitted")):
        for line, panel in zip(axes.get_lines(), "abc", strict=True):
            expected = figure.curve(variant, panel).values[::10]
            np.testing.assert_array_equal(line.get_ydata(), expected)


@pytest.mark.slow
def test_files_hold_the_curves_and_are_the_same_each_time(figure: Figure1, tmp_path: Path) -> None:
    files = write_figure1(figure, tmp_path / "new" / "folder")
    assert [file.name for file in files] == [
        "figure1.svg",
        "figure1.png",
        "figure1.csv",
        "figure1-differences.csv",
    ]
    with files[2].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * 2201
    last = rows[-1]
    assert (last["variant"], last["panel"], last["iteration"]) == ("fitted", "c", "88000")
    assert float(last["objective"]) == figure.curve("fitted", "c").values[-1]
    again = write_figure1(figure, tmp_path / "again")
    assert again[0].read_bytes() == files[0].read_bytes()
