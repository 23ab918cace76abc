"""The two-way bootstrap over seeds and images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from indian_tune.analysis.bootstrap import image_interval, resampled_means

TABLE = np.array([[1.0, 0.0, -1.0], [1.0, 1.0, 0.0]])


def test_a_resample_is_the_mean_of_the_drawn_rows_and_columns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows, columns = rng.integers(2, size=2), rng.integers(3, size=3)
        expected = TABLE[np.ix_(rows, columns)].mean()
        found = resampled_means(
            TABLE,
            np.bincount(rows, minlength=2)[None],
            np.bincount(columns, minlength=3)[None],
        )
        assert found == pytest.approx([expected])


def test_the_bounds_are_quantiles_over_all_equally_likely_draws() -> None:
    table = np.random.default_rng(2).standard_normal((4, 3))
    draws = [
        table[np.ix_(rows, columns)].mean()
        for rows in itertools.product(range(4), repeat=4)
        for columns in itertools.product(range(3), repeat=3)
    ]
    made = image_interval("effect", table, 0.05, resamples=20_000)
    assert [made.low, made.high] == pytest.approx(np.quantile(draws, [0.05, 0.95]), abs=0.02)
    assert (made.images, made.n) == (3, 4)


def test_images_widen_the_bounds_over_seeds_alone() -> None:
    rng = np.random.default_rng(1)
    few = rng.integers(-1, 2, (10, 20)).mean(0) + 0.01 * rng.standard_normal((10, 20))
    made = image_interval("effect", few, 0.05)
    seeds_alone = few.mean(1).std(ddof=1) / np.sqrt(10)
    assert made.high - made.low > 5 * seeds_alone
