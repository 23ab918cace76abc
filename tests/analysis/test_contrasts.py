"""Bounds over searches, against computations made another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from indian_tune.analysis.ends import unit_means
from indian_tune.analysis.estimates import bounds, example_variance


def test_the_bounds_are_those_of_the_t_of_scipy_in_any_batch() -> None:
    draws = np.random.default_rng(0).standard_normal((5, 7, 9))
    made = bounds(draws, 0.05, 0.0125)
    error = stats.sem(draws, axis=-1)
    assert made.low == pytest.approx(draws.mean(-1) - stats.t.ppf(0.95, 8) * error)
    assert made.high == pytest.approx(draws.mean(-1) + stats.t.ppf(0.9875, 8) * error)


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3, 0.3]])
def test_without_a_spread_nothing_is_known(values: list[float]) -> None:
    made = bounds(np.array(values), 0.05, 0.05)
    assert (float(made.low), float(made.high)) == (-math.inf, math.inf)


def test_the_variance_of_examples_is_that_of_the_mean_squares_of_statsmodels() -> None:
    import pandas as pd
    import statsmodels.formula.api as formulas
    from statsmodels.stats.anova import anova_lm

    units, examples = 4, 12
    rng = np.random.default_rng(1)
    table = rng.standard_normal((units, examples)) + rng.standard_normal((1, examples))
    row, column = np.indices(table.shape)
    data = pd.DataFrame({"y": table.ravel(), "unit": row.ravel(), "example": column.ravel()})
    squares = anova_lm(formulas.ols("y ~ C(unit) + C(example)", data).fit())["mean_sq"]
    found = table.mean(-1).var(ddof=1) / units + float(example_variance(table))
    expected = squares["C(unit)"] + squares["C(example)"] - squares["Residual"]
    assert found == pytest.approx(expected / (units * examples))


def test_a_unit_is_a_search_and_of_one_search_a_seed() -> None:
    values = np.array([[1.0, 3.0], [5.0, 100.0], [7.0, 9.0]])
    used = np.array([[True, True], [True, False], [False, False]])
    assert unit_means(values, used).tolist() == [2.0, 5.0]
    assert unit_means(values[:1], used[:1]).tolist() == [1.0, 3.0]
