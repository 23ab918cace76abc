"""Seeds needed and detectable effects, against the noncentral t itself."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from indian_tune.analysis import power
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


def test_a_pilot_without_spread_needs_two_seeds() -> None:
    assert power([0.01, 0.01], 0.005).needed == 2


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
