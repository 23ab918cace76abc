from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indian_tune.reproduce import (
    ConvergenceRun,
    convergence_table,
    default_objectives,
    draw_convergence,
    run_convergence,
    write_convergence,
)
from indian_tune.reproduce.objectives import AbsoluteRegression, ReluDifference, TwoKinks

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def regression() -> ConvergenceRun:
    return run_convergence(AbsoluteRegression.random(), seeds=3, steps=10_000)


@pytest.fixture(scope="module")
def trapped() -> ConvergenceRun:
    objective = default_objectives()[-1]
    return run_convergence(objective, seeds=2, steps=500)


def test_there_are_four_objectives_and_a_second_start() -> None:
    objectives = default_objectives()
    assert [type(one).__name__ for one in objectives] == [
        "TwoKinks",
        "AbsoluteRegression",
        "ReluNetwork",
        "ReluDifference",
        "ReluDifference",
    ]
    assert len({one.title for one in objectives}) == 5


def test_admissible_step_sizes_reach_critical_points_and_a_constant_one_does_not(
    regression: ConvergenceRun,
) -> None:
    rows = {row.decay_power: row for row in convergence_table([regression])}
    assert [power for power, row in rows.items() if not row.admissible] == [0.0]
    for power in (0.5, 0.75, 1.0):
        assert rows[power].distance < 0.02 < rows[power].first_distance
        assert rows[power].tail_swing < 2e-3
    assert rows[0.0].distance > 0.2
    assert rows[0.0].tail_swing > 0.1


def test_values_settle_faster_the_faster_the_step_sizes_decay(regression: ConvergenceRun) -> None:
    swings = [row.tail_swing for row in convergence_table([regression])]
    assert swings == sorted(swings, reverse=True)


def test_values_never_fall_below_the_minimum(regression: ConvergenceRun) -> None:
    assert regression.objective.minimum is not None
    assert regression.values.min() >= regression.objective.minimum - 1e-12
    assert regression.values[2, :, -1].max() < regression.objective.minimum + 5e-3


def test_gradient_at_the_point_alone_stays_away_from_zero(regression: ConvergenceRun) -> None:
    """Which is why the kinks around a point must count."""
    rows = {row.decay_power: row for row in convergence_table([regression])}
    assert rows[0.75].distance_at_point > 3 * rows[0.75].distance
    assert (regression.distances <= regression.distances_at_point + 1e-9).all()


def test_two_kinks_settle_on_the_minimum() -> None:
    run = run_convergence(TwoKinks(), decay_powers=[0.25], seeds=2, steps=6_000)
    np.testing.assert_allclose(run.last, 1.0, atol=0.02)
    assert run.distances[0, :, -1].max() < 0.2


def test_a_point_critical_for_mini_batches_alone_is_never_left(trapped: ConvergenceRun) -> None:
    assert not trapped.last.any()
    assert trapped.distances.max() < 1e-12
    (row, *_) = convergence_table([trapped])
    assert row.clarke_distance == pytest.approx(0.5**0.5)


def test_any_other_start_leaves_that_point() -> None:
    run = run_convergence(
        ReluDifference(initial=(1e-3, 0.0)), decay_powers=[0.5], seeds=2, steps=10_000
    )
    assert run.values[0, :, -1].max() < -0.48


def test_runs_of_a_seed_are_the_same_whatever_runs_beside_them(regression: ConvergenceRun) -> None:
    alone = run_convergence(AbsoluteRegression.random(), decay_powers=[0.5], seeds=2, steps=10_000)
    np.testing.assert_array_equal(alone.values[0], regression.values[2, :2])


def test_time_is_the_sum_of_the_step_sizes(trapped: ConvergenceRun) -> None:
    rows = {row.decay_power: row for row in convergence_table([trapped])}
    assert rows[0.0].time == pytest.approx(500 * 0.2)
    assert rows[1.0].gamma0 == pytest.approx(1.6)
    assert rows[1.0].time == pytest.approx(1.6 * sum(1 / k for k in range(1, 501)))


def test_figure_has_a_row_for_each_objective(
    regression: ConvergenceRun, trapped: ConvergenceRun
) -> None:
    canvas = draw_convergence([regression, trapped])
    assert [axes.get_title(loc="left") for axes in canvas.axes[::2]] == [
        regression.objective.title,
        trapped.objective.title,
    ]
    medians = np.median(regression.distances[2], axis=0)
    line = canvas.axes[1].get_lines()[2]
    np.testing.assert_allclose(np.asarray(line.get_ydata()), np.maximum(medians, 1e-6))
    notes = [text.get_text() for text in canvas.axes[3].texts]
    assert notes == ["dist(0, ∂J)"]


def test_files_hold_the_runs_and_the_table(trapped: ConvergenceRun, tmp_path: Path) -> None:
    files = write_convergence([trapped], tmp_path)
    assert [file.name for file in files] == [
        "theorem1.svg",
        "theorem1.png",
        "theorem1.csv",
        "theorem1-table.csv",
    ]
    with files[2].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2 * len(trapped.steps)
    assert {row["iteration"] for row in rows} == {str(step) for step in trapped.steps}
    with files[3].open() as file:
        assert [row["decay_power"] for row in csv.DictReader(file)] == [
            "0.0",
            "0.25",
            "0.5",
            "0.75",
            "1.0",
        ]
