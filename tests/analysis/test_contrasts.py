"""Tests of paired differences, against computations made another way."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from indian_tune.analysis import Contrast, Label
from indian_tune.analysis.contrasts import contrast, paired_t, sign_flip
from indian_tune.analysis.equivalence import equivalence
from indian_tune.analysis.multiplicity import all_of, holm

DRAW = np.array([0.012, -0.004, 0.008, 0.015, 0.001, -0.002])


def made(differences: object, alpha: float = 0.05) -> Contrast:
    values = np.asarray(differences, dtype=np.float64)
    seeds = range(len(values))
    return contrast(values, seeds, arm="a", baseline="b", outcome="final", alpha=alpha, delta=0.005)


def test_the_paired_t_of_one_two_three_by_hand() -> None:
    # t = 2 √3 with 2 degrees of freedom, whose distribution is (1 + t / √(2 + t²)) / 2.
    found = paired_t(np.array([1.0, 2.0, 3.0]), 0.05)
    t = 2 * math.sqrt(3)
    assert float(found.p) == pytest.approx((1 - t / math.sqrt(2 + t * t)) / 2)
    # Its 95 % quantile solves q / √(2 + q²) = 0.9.
    quantile = 0.9 * math.sqrt(2 / (1 - 0.81))
    assert float(found.low) == pytest.approx(2 - quantile / math.sqrt(3))
    assert float(found.high) == pytest.approx(2 + quantile / math.sqrt(3))


def test_the_paired_t_agrees_with_scipy_in_any_batch() -> None:
    draws = np.random.default_rng(0).standard_normal((5, 7, 9))
    found = paired_t(draws, 0.05)
    expected = stats.ttest_1samp(draws, 0.0, axis=-1, alternative="greater")
    assert found.p == pytest.approx(expected.pvalue)
    bounds = expected.confidence_interval(0.95)
    assert found.low == pytest.approx(bounds.low)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.3, 0.0), (-0.3, 1.0)])
def test_differences_without_spread_are_known(value: float, p: float) -> None:
    found = paired_t(np.full(4, value), 0.05)
    assert (float(found.p), float(found.low), float(found.high)) == (p, value, value)


def test_the_sign_flip_counts_all_signs() -> None:
    signs = itertools.product((-1, 1), repeat=len(DRAW))
    means = [float(np.mean(DRAW * sign)) for sign in signs]
    expected = sum(mean >= DRAW.mean() - 1e-15 for mean in means) / len(means)
    assert sign_flip(DRAW.tolist()) == expected


def test_five_seeds_cannot_give_a_smaller_sign_flip_p_than_one_in_32() -> None:
    assert sign_flip([1.0, 2.0, 3.0, 4.0, 5.0]) == 1 / 32


def test_many_seeds_are_flipped_at_random_and_agree_with_the_t() -> None:
    draw = np.random.default_rng(3).normal(0.3, 1, 20)
    assert sign_flip(draw.tolist()) == pytest.approx(float(paired_t(draw, 0.05).p), abs=0.02)


def test_holm_by_hand() -> None:
    pairs = [(0.01, 0.03), (0.04, 0.06), (0.03, 0.06)]
    given = [dataclasses.replace(made(DRAW), p=p) for p, _ in pairs]
    assert [one.p_adjusted for one in holm(given)] == pytest.approx([p for _, p in pairs])


def test_tost_is_the_larger_of_two_one_sided_p_values() -> None:
    margin = 0.01
    found = equivalence("effect", DRAW, margin, 0.05)
    error = DRAW.std(ddof=1) / math.sqrt(len(DRAW))
    above = stats.t.sf((DRAW.mean() + margin) / error, len(DRAW) - 1)
    below = stats.t.sf((margin - DRAW.mean()) / error, len(DRAW) - 1)
    assert found.p == pytest.approx(max(above, below))
    # Equivalent exactly when the interval of the same level lies within the margin.
    assert found.equivalent == (-margin < found.low and found.high < margin)


@pytest.mark.parametrize(("value", "equivalent"), [(0.0, True), (0.02, False)])
def test_tost_of_differences_without_spread(value: float, equivalent: bool) -> None:
    assert equivalence("effect", np.full(3, value), 0.01, 0.05).equivalent is equivalent


def test_all_of_takes_the_largest_p_and_the_smallest_bounds() -> None:
    contrasts = [made(DRAW), made(DRAW + 0.02), made(DRAW * 2)]
    found = all_of(contrasts, 0.05)
    assert found.p == max(one.p for one in contrasts)
    assert found.low == min(one.low for one in contrasts)
    assert found.estimate == min(one.estimate for one in contrasts)
    # The upper bound shares the level among the three that may refute.
    corrected = [made(one.differences, 0.05 / 3).high for one in contrasts]
    assert found.high == pytest.approx(min(corrected))
    assert found.high > min(one.high for one in contrasts)


def test_one_seed_has_no_bounds() -> None:
    one = made([0.03])
    assert (one.low, one.high, one.p, one.deviation) == (-math.inf, math.inf, 1.0, None)
    assert one.label is Label.INCONCLUSIVE
