"""Where a run first reaches a training loss, against hand-checked examples."""

from __future__ import annotations

import numpy as np
import pytest

from indian_tune.analysis.crossing import (
    BANDWIDTH,
    accuracy_at,
    crossings,
    decreasing_fit,
    first_crossing_accuracy,
)


def test_the_isotonic_fit_pools_what_rises() -> None:
    loss = np.array([5.0, 3.0, 4.0, 2.0, 2.5, 1.0])
    assert decreasing_fit(loss).tolist() == [5.0, 3.5, 3.5, 2.25, 2.25, 1.0]


def test_the_isotonic_fit_agrees_with_the_minimax_formula() -> None:
    rng = np.random.default_rng(0)
    loss = np.exp(-0.1 * np.arange(15)) + 0.2 * rng.standard_normal((4, 15))
    for values, fitted in zip(loss, decreasing_fit(loss), strict=True):
        # Barlow et al. (1972): the smallest, over starts, of the largest mean over ends.
        expected = [
            min(max(values[j : k + 1].mean() for k in range(i, 15)) for j in range(i + 1))
            for i in range(15)
        ]
        assert fitted == pytest.approx(expected)


def test_the_fit_ends_where_a_run_diverges() -> None:
    fitted = decreasing_fit(np.array([3.0, 2.0, np.nan, 1.0]))
    assert fitted[:2].tolist() == [3.0, 2.0]
    assert np.isnan(fitted[2:]).all()


@pytest.mark.parametrize(
    ("tau", "position"),
    [(3.0, 0.5), (1.5, 2.5), (2.0, 1.0), (4.0, 0.0), (1.0, 3.0), (0.9, np.nan), (4.1, np.nan)],
)
def test_a_crossing_lies_between_epochs(tau: float, position: float) -> None:
    fit = np.array([4.0, 2.0, 2.0, 1.0])
    assert crossings(fit, [tau])[0] == pytest.approx(position, nan_ok=True)


def test_accuracy_that_is_linear_in_the_loss_is_found_exactly() -> None:
    loss = 2.0 * np.exp(-0.2 * np.arange(30))
    taus = (1.1, 0.5, 0.1)
    found = accuracy_at(loss, 0.9 - 0.3 * loss, taus)
    assert found == pytest.approx([0.9 - 0.3 * tau for tau in taus], abs=1e-12)


def test_the_interpolation_is_a_weighted_least_squares_line() -> None:
    rng = np.random.default_rng(1)
    loss = 2.0 * np.exp(-0.2 * np.arange(20)) * np.exp(0.05 * rng.standard_normal(20))
    accuracy = 0.8 - 0.2 * loss + 0.01 * rng.standard_normal(20)
    fit = decreasing_fit(loss)
    (position,) = crossings(fit, [0.5])
    distance = np.abs(np.arange(20) - position) / BANDWIDTH
    near = distance < 1
    weight = (1 - distance[near] ** 3) ** 3
    # numpy weighs residuals, not their squares.
    line = np.polyfit(fit[near] - 0.5, accuracy[near], 1, w=np.sqrt(weight))
    assert accuracy_at(loss, accuracy, [0.5])[0] == pytest.approx(line[1], abs=1e-12)


def test_where_the_loss_is_flat_the_accuracy_is_a_mean() -> None:
    loss = np.array([1.0, 1.0, 1.0, 1.0, 1.0])
    accuracy = np.array([0.5, 0.6, 0.7, 0.6, 0.5])
    weight = (1 - (np.arange(3) / BANDWIDTH) ** 3) ** 3
    expected = (weight * accuracy[:3]).sum() / weight.sum()
    assert accuracy_at(loss, accuracy, [1.0])[0] == pytest.approx(expected)


def test_runs_are_treated_alone_in_any_batch() -> None:
    rng = np.random.default_rng(2)
    loss = np.exp(-0.2 * np.arange(25)) * np.exp(0.1 * rng.standard_normal((2, 3, 25)))
    accuracy = rng.random((2, 3, 25))
    together = accuracy_at(loss, accuracy, (0.5, 0.2))
    for k in np.ndindex(2, 3):
        alone = accuracy_at(loss[k], accuracy[k], (0.5, 0.2))
        assert np.array_equal(together[k], alone, equal_nan=True)


def test_a_run_that_diverges_after_the_crossing_still_counts_there() -> None:
    loss = np.array([2.0, 1.5, 1.0, 0.5, np.nan, np.nan])
    accuracy = np.array([0.1, 0.2, 0.3, 0.4, np.nan, np.nan])
    found = accuracy_at(loss, accuracy, (1.25, 0.4))
    assert found[0] == pytest.approx(0.25)
    assert np.isnan(found[1])


def test_the_unsmoothed_crossing_takes_the_first_recorded_epoch() -> None:
    loss = np.array([3.0, 1.9, 2.2, 1.0])
    accuracy = np.array([0.1, 0.2, 0.3, 0.4])
    found = first_crossing_accuracy(loss, accuracy, (2.0, 1.0, 0.5))
    assert found[:2].tolist() == [0.2, 0.4]
    assert np.isnan(found[2])
