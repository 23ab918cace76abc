"""Seeds needed and detectable effects, against the noncentral t itself."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from indian_tune.analysis import power
from indian_tune.analysis.descriptive import final_contrast
from indian_tune.analysis.power import upper_factor
from indian_tune.errors import InputError

PILOT = [0.012, -0.004, 0.008, 0.015, 0.001, -0.002]


def probability(effect: float, n: int, alpha: float = 0.05) -> float:
    critical = stats.t.ppf(1 - alpha, n - 1)
    return float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))


@pytest.mark.parametrize("effect", [0.3, 0.5, 1.0, 2.0])
def test_the_seeds_needed_are_the_fewest_that_reach_the_power(effect: float) -> None:
    seeds = power(1.0, effect).needed
    assert probability(effect, seeds) >= 0.8 > probability(effect, seeds - 1)


def test_the_detectable_effect_has_the_power_that_was_asked_for() -> None:
    made = power(PILOT, 0.005, power=0.9)
    assert made.n == 6
    assert made.detectable is not None
    assert probability(made.detectable / made.deviation, 6) == pytest.approx(0.9)
    assert made.achieved == pytest.approx(probability(0.005 / made.deviation, 6))


def test_the_detectable_effect_of_a_planned_study_is_for_the_deviation_of_its_counts() -> None:
    made = power(PILOT, 0.005, n=12)
    assert made.planned > made.deviation
    assert made.detectable is not None
    assert probability(made.detectable / made.planned, 12) == pytest.approx(0.8)
    assert made.achieved == pytest.approx(probability(0.005 / made.planned, 12))


def test_a_pilot_without_spread_needs_two_seeds() -> None:
    assert power([0.01, 0.01], 0.005).needed == 2


@pytest.mark.parametrize(("freedom", "factor"), [(4, 1.56), (9, 1.29)])
def test_a_deviation_from_few_searches_is_planned_at_its_upper_bound(
    freedom: int, factor: float
) -> None:
    """The bound at 80 %: s²·df/σ² has a chi-squared distribution with df degrees of freedom."""
    assert upper_factor(freedom) == pytest.approx(factor, abs=0.005)
    assert stats.chi2.sf(freedom / upper_factor(freedom) ** 2, freedom) == pytest.approx(0.8)
    pilot = [0.01 * (-1) ** k * (k % 3) for k in range(freedom + 1)]
    made = power(pilot, 0.005)
    assert made.planned == pytest.approx(made.deviation * upper_factor(freedom))


@pytest.mark.parametrize(
    ("delta", "fewest", "most"), [(0.5, 7, 11), (0.25, 20, 38)], ids=["half", "quarter"]
)
def test_the_searches_for_a_spread_of_043_are_those_of_the_protocol(
    delta: float, fewest: int, most: int
) -> None:
    """From one contrast alone to all four; support at 1 - .2/4 each, refutation at .05/4."""
    alone, together = power(0.43, delta), power(0.43, delta, contrasts=4)
    assert alone.needed == fewest
    assert fewest < together.needed <= most
    assert fewest < together.needed_to_refute <= most
    assert probability(delta / 0.43, together.needed) >= 0.95
    assert probability(delta / 0.43, together.needed - 1) < 0.95
    assert probability(delta / 0.43, together.needed_to_refute, 0.0125) >= 0.8
    assert probability(delta / 0.43, together.needed_to_refute - 1, 0.0125) < 0.8


def test_the_differences_of_a_pilot_are_those_between_its_searches() -> None:
    keys = [(search, seed) for search in range(3) for seed in range(2)]
    frame = pd.DataFrame(
        [
            {"arm": arm, "replicate": search, "seed": 10 * search + seed, "epoch": epoch}
            | {"accuracy": 0.5 + 0.1 * epoch + (0.02 * search + 0.01 * seed) * (arm == "indian")}
            | {"run_state": "diverged" if (arm, search, seed) == ("sgd", 2, 1) else "complete"}
            for arm in ("indian", "sgd")
            for search, seed in keys
            for epoch in (1, 2)
        ]
    )
    found = final_contrast(frame, "indian", "sgd", "accuracy")
    # The pair of the run that diverged is left out of its search.
    assert found.searches == pytest.approx((0.005, 0.025, 0.04))
    assert (len(found.differences), found.left_out) == (5, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PILOT, 0.0), "delta = 0.0"),
        ((PILOT, 0.01, 1.0), "alpha = 1.0"),
        ((PILOT, 0.01, 0.05, 0.0), "power = 0.0"),
        (([0.1], 0.01), "at least 2 paired differences"),
        ((math.nan, 0.01), "no finite standard deviation"),
    ],
)
def test_values_out_of_range_are_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        power(*arguments)


def test_of_several_searches_each_counts_once() -> None:
    rows = [
        {"arm": arm, "replicate": search, "seed": 10 * search + seed, "epoch": 1, "accuracy": value}
        for search in range(3)
        for seed in range(2)
        for arm, value in (("indian", 0.5 + 0.1 * search + 0.01 * seed), ("sgd", 0.5))
    ]
    found = final_contrast(pd.DataFrame(rows), "indian", "sgd", "accuracy")
    means = np.array([0.005, 0.105, 0.205])
    half = stats.t.ppf(0.975, 2) * means.std(ddof=1) / np.sqrt(3)
    assert (found.unit, found.count) == ("searches", 3)
    assert found.estimate == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx((means.mean() - half, means.mean() + half))
