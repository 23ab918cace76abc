"""The parts that a comparison is made of, against what is known of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

import indian_tune
from indian_tune.analysis.label import Label
from indian_tune.comparison import compare_many, compare_runs, runs_of
from indian_tune.comparison.best_of import best_of
from indian_tune.comparison.cautions import examples
from indian_tune.comparison.drawing import exhibits
from indian_tune.comparison.further import further, settled
from indian_tune.comparison.intervals import paired_superiority, unpaired_superiority
from indian_tune.comparison.sequential import half_widths, sequence
from tests.comparison.test_compare import A, B, frame_of


def test_the_confidence_sequence_is_where_the_likelihood_ratio_is_one_over_alpha() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 12)
    n, g, alpha = len(values), 3.0, 0.05
    edge = values.mean() - half_widths(values, alpha)[-1]
    squared = n * (values.mean() - edge) ** 2 / values.var(ddof=1)
    freedom = n - 1
    ratio = (1 + n * g) ** -0.5 * (
        (1 + squared / freedom) / (1 + squared / (freedom * (1 + n * g)))
    ) ** (n / 2)
    assert ratio == pytest.approx(1 / alpha)


def test_the_confidence_sequence_errs_rarely_whenever_one_stops() -> None:
    values = np.random.default_rng(1).standard_normal((2000, 60))
    means = np.cumsum(values, axis=1) / np.arange(1, 61)
    missed = np.abs(means) > half_widths(values, 0.05)
    assert missed.any(axis=1).mean() <= 0.05
    # The interval of a t, looked at as often, does not hold its level.
    errors = np.array([values[:, :n].std(axis=1, ddof=1) / math.sqrt(n) for n in range(2, 61)]).T
    t = stats.t.ppf(0.975, np.arange(1, 60))
    assert (np.abs(means[:, 1:]) > t * errors).any(axis=1).mean() > 0.2


def test_equal_differences_have_no_confidence_sequence() -> None:
    assert np.isinf(half_widths(np.full(10, 0.1) + 1e8, 0.05)).all()


def test_a_sequence_is_settled_at_its_first_label() -> None:
    found = sequence(list("abcdefgh"), 1 + 0.1 * np.resize([1.0, -1.0, 0.5], 8), 0.0, 0.05)
    assert found.label is Label.SUPPORTED
    assert found.settled_at is not None
    assert [look.label is Label.SUPPORTED for look in found.looks] == [
        look.n >= found.settled_at for look in found.looks
    ]


def test_differences_that_leave_their_earlier_intervals_settle_nothing() -> None:
    steady = [1, 1.1, 0.9, 1.05, 0.95, 1, 1.02]
    values = np.array([*steady, -6, 8, -7, 5, -6])
    settled = sequence([str(n) for n in range(7)], values[:7], 0.0, 0.05)
    assert (settled.label, settled.settled_at, settled.drifts) == (Label.SUPPORTED, 4, False)
    widths = [look.high - look.low for look in settled.looks]
    assert widths == sorted(widths, reverse=True)
    found = sequence([str(n) for n in range(12)], values, 0.0, 0.05)
    assert (found.label, found.settled_at, found.drifts) == (Label.INCONCLUSIVE, None, True)
    assert found.looks[-1].low < 0 < found.looks[-1].high
    frame = frame_of(A=[float(value) for value in values], B=[0.0] * 12)
    said = indian_tune.compare(frame, "A", "B", sequential=True, better="higher")
    assert said.label == "INCONCLUSIVE"
    assert "their mean is outside the interval" in said.markdown()


def test_sequential_answers_with_the_anytime_valid_interval() -> None:
    frame = frame_of(A=[*A, *A[:3]], B=[*B, *B[:3]])
    found = indian_tune.compare(frame, "A", "B", sequential=True)
    plain = indian_tune.compare(frame, "A", "B")
    assert found.contrast.difference.low < plain.contrast.difference.low
    assert (found.label, found.sequence is not None) == ("SUPPORTED", True)
    assert "anytime-valid 95 % interval" in found.sentence
    assert "Decided after" in found.markdown()


def test_the_paired_share_of_wins_has_an_exact_interval() -> None:
    pairs = [("", 1.0, 0.0)] * 8 + [("", 0.0, 1.0), ("", math.nan, 1.0)]
    found = paired_superiority(pairs, 1.0, 0.05)
    exact = stats.binomtest(8, 10).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_the_unpaired_share_of_wins_counts_ties_half_and_failures_as_the_worst() -> None:
    found = unpaired_superiority(np.array([3.0, 2.0, np.nan]), np.array([2.0, 1.0]), 0.05)
    assert found.estimate == pytest.approx(3.5 / 6)
    assert 0 < found.low < found.estimate < found.high < 1
    apart = unpaired_superiority(np.arange(10.0) + 20, np.arange(10.0), 0.05)
    assert (apart.estimate, apart.high) == (1.0, 1.0)
    assert 0.6 < apart.low < 0.95


def test_the_predictive_probability_is_that_of_simulated_further_seeds() -> None:
    values = np.array([0.5, -0.2, 0.9, 0.1, 0.4, 0.3])
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(2000):
        variance = values.var() * len(values) / rng.chisquare(5)
        mean = rng.normal(values.mean(), math.sqrt(variance / 6))
        whole = np.concatenate([values, rng.normal(mean, math.sqrt(variance), 8)])
        hits += stats.ttest_1samp(whole, 0).confidence_interval(0.95).low > 0
    assert settled([values], 8, 0.0, 0.05) == pytest.approx(hits / 2000, abs=0.05)
    assert further([np.full(5, 0.1)], 0.0, 0.05) is None


def test_the_best_of_n_is_a_quantile_with_a_band_for_the_whole_distribution() -> None:
    trials = pd.DataFrame({"arm": "A", "replicate": 0, "trial": range(100), "value": range(100)})
    (found,) = best_of(trials, "accuracy", "higher")
    assert (found.budget, found.median[0], found.median[1]) == (100, 49.0, 70.0)
    width = math.sqrt(math.log(40) / 200)
    assert found.worse[0] == math.ceil((0.5 - width) * 100) - 1
    assert found.better[0] == math.ceil((0.5 + width) * 100) - 1
    assert math.isnan(found.better[-1])
    (lower,) = best_of(trials.assign(value=-trials["value"]), "loss", "lower")
    assert lower.median == tuple(-value for value in found.median)


def test_the_band_of_the_best_of_n_holds_the_truth() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(200):
        values = rng.random(32)
        trials = pd.DataFrame({"arm": "A", "replicate": 0, "trial": range(32), "value": values})
        (found,) = best_of(trials, "accuracy", "higher")
        truth = 0.5 ** (1 / np.array(found.n))
        low = np.nan_to_num(np.array(found.worse), nan=-np.inf)
        high = np.nan_to_num(np.array(found.better), nan=np.inf)
        inside += bool(((low <= truth) & (truth <= high)).all())
    assert inside >= 190


def test_steps_to_a_target_take_runs_that_do_not_reach_it_as_longer() -> None:
    rows = [
        {"arm": arm, "seed": seed, "epoch": epoch, "val_loss": 1 / (epoch * rate + 0.1 * seed)}
        for arm, rate in (("fast", 1.0), ("slow", 0.5))
        for seed in range(6)
        for epoch in range(1, 13)
    ]
    found = indian_tune.compare(pd.DataFrame(rows), "fast", "slow", target=0.2)
    assert found.target is not None
    fast, slow = found.target.arms
    assert (fast.reached, slow.reached, fast.median, slow.median) == (6, 6, 5.0, 10.0)
    assert (fast.low, fast.high) == (5.0, 5.0)
    assert found.target.ratio is not None
    assert found.target.ratio.estimate == pytest.approx(0.5, abs=0.03)
    short = indian_tune.compare(pd.DataFrame(rows), "fast", "slow", target=0.16)
    assert short.target is not None
    assert (short.target.ratio, short.target.arms[1].reached) == (None, 3)
    assert short.target.arms[1].high == math.inf
    assert "There is no ratio of steps, because not all runs reach it" in short.markdown()


def test_many_arms_are_corrected_as_holm_has_it() -> None:
    rng = np.random.default_rng(2)
    arms: dict[str, Any] = {f"a{k}": rng.normal(0.02 * (k == 0), 0.01, 10) for k in range(6)}
    found = compare_many(runs_of(frame_of("accuracy", **arms)), delta=0.005)
    assert len(found.rows) == 15
    raw = [
        stats.ttest_rel(arms[r.contrast.a], arms[r.contrast.b], alternative="greater").pvalue
        for r in found.rows
    ]
    corrected = multipletests(raw, method="holm")[1].tolist()
    assert [row.p_above for row in found.rows] == pytest.approx(corrected)
    assert [text[:21] for text in found.cautions] == ["p (Holm) is one-sided"]
    few = compare_many(runs_of(frame_of("accuracy", **{k: v[:4] for k, v in arms.items()})))
    assert any(
        "With 4 seeds the interval assumes normally distributed values" in t for t in few.cautions
    )
    against = compare_many(runs_of(frame_of("accuracy", **arms)), baseline="a3", delta=0.005)
    assert [(r.contrast.a, r.contrast.b) for r in against.rows] == [
        (arm, "a3") for arm in arms if arm != "a3"
    ]
    assert {r.contrast.label for r in against.rows} <= {*Label}


def test_shares_of_few_examples_are_recognised() -> None:
    rng = np.random.default_rng(4)
    assert examples(rng.binomial(359, 0.9, 10) / 359) == 359
    assert examples((100 * rng.binomial(250, 0.9, 10) / 250).round(4)) == 250
    assert examples(np.float32(rng.binomial(359, 0.9, 10) / 359).astype(float)) == 359
    assert examples(rng.binomial(10000, 0.9, 10) / 10000) is None
    assert examples(rng.random(10)) is None
    assert examples(2 + rng.random(10)) is None


@pytest.mark.parametrize(
    ("frame", "key"),
    [
        (frame_of("best_accuracy", A=A, B=B), "selection"),
        (frame_of(A=A, B=B).assign(phase="tune"), "selection"),
        (frame_of(A=[1.0, 1.0, 0.99], B=[1.0, 0.98, 0.97]), "saturation"),
        (frame_of(A=[0.9, 0.91, 0.93], B=[0.9, 0.92, 0.94]), "lattice"),
        (
            frame_of(A=A, B=B).assign(**{"config.lr": range(10)}),
            "configurations",
        ),
    ],
)
def test_what_must_not_be_believed_is_said(frame: pd.DataFrame, key: str) -> None:
    found = indian_tune.compare(frame, "A", "B")
    assert (key, False) in [(caution.key, caution.asked) for caution in found.cautions]


def test_rounded_losses_are_no_shares_of_few_examples() -> None:
    found = indian_tune.compare(frame_of("val_loss", A=[0.9, 0.91], B=[0.9, 0.92]), "A", "B")
    assert "lattice" not in [caution.key for caution in found.cautions]


@pytest.mark.parametrize(
    ("metric", "values", "asked"),
    [
        ("test_accuracy", (0.9, 0.91, 0.93), False),
        ("test_auc", (0.66471, 0.67138, 0.66822), True),
        ("test_mae", (0.6315, 0.63, 0.6331), True),
        ("train_loss", (0.6315, 0.63, 0.6331), False),
    ],
)
def test_what_other_test_examples_would_change_is_asked_where_it_is_not_known(
    metric: str, values: tuple[float, ...], asked: bool
) -> None:
    other = tuple(value + 0.01 for value in values)
    found = indian_tune.compare(frame_of(metric, A=list(values), B=list(other)), "A", "B")
    assert ("examples" in [caution.key for caution in found.cautions]) is asked


def test_runs_that_were_copied_under_other_seeds_are_warned_of() -> None:
    copied = indian_tune.compare(frame_of(A=[*A, *A], B=[*B, *B]), "A", "B").cautions
    (said,) = (each.sentence for each in copied if each.key == "copies")
    assert said.startswith("5 of 10 pairs have the values of another pair: were runs copied")
    own = indian_tune.compare(frame_of(A=[*A, *B], B=[*B, *A]), "A", "B").cautions
    assert "copies" not in [each.key for each in own]


def test_seeds_of_a_search_are_shares_of_the_same_examples() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"arm": arm, "replicate": search, "seed": seed, "accuracy": rng.binomial(359, 0.9) / 359}
        for arm in "AB"
        for search in range(6)
        for seed in (1, 2)
    )
    runs = runs_of(frame)

    def said(**changes: Any) -> str:
        found = compare_runs(replace(runs, **changes), "A", "B")
        return next((each.sentence for each in found.cautions if each.key == "lattice"), "")

    assert "There are 359 examples, so" in said()
    assert "There are 718 examples, so" in said(examples=718)
    # Every search has examples of its own: the interval includes their variation.
    assert said(examples=0) == ""


def test_unequal_tuning_is_said_with_what_equal_tuning_gives() -> None:
    rng = np.random.default_rng(0)
    tuning = [
        {"arm": arm, "phase": "tune", "trial": trial, "seed": 0, "accuracy": value}
        for arm, trials in (("A", 32), ("B", 8))
        for trial, value in enumerate(rng.uniform(0.5, 0.7, trials))
    ]
    confirm = frame_of(A=A, B=B).assign(phase="confirm", trial=0)
    found = indian_tune.compare(pd.concat([pd.DataFrame(tuning), confirm]), "A", "B")
    (said,) = [caution.sentence for caution in found.cautions if caution.key == "budgets"]
    assert "A was chosen from 32 trials, B from 8; the median accuracy of the best of 8" in said
    assert "after 32 trials (95 % band: at " in found.markdown()
    assert [(curve.arm, curve.budget) for curve in found.best_of] == [("A", 32), ("B", 8)]
    # The better end of the band is known for the first n alone, the worse one for more.
    (drawn,) = [each for each in exhibits(found) if each.name == "best-of-n"]
    (axes,) = drawn.figure.axes
    for curve, band in zip(found.best_of, axes.collections, strict=True):
        assert sum(map(math.isfinite, curve.worse)) > sum(map(math.isfinite, curve.better))
        (outline,) = band.get_paths()
        assert outline.get_extents().xmax == curve.n[-1]
