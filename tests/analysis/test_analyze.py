"""A data frame and claims in, a verdict out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from indian_tune.analysis import Label, Registration, Scope, analyze
from indian_tune.analysis.claim import scope_words
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.hypotheses import MatchedLoss, Replication, TuningGain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.analysis.conftest import Study

    Simulated = Callable[..., Study]


def test_a_gain_that_is_not_fit_is_supported_with_its_scope(gain: Study) -> None:
    verdict = gain.judged()
    assert (verdict.label, verdict.strongly, verdict.hangs_on) == (Label.SUPPORTED, True, None)
    assert "nin-small on digits, this pool of examples, 10 searches" in verdict.sentence
    (h2,) = verdict.finding("H2").contrasts
    assert h2.test.estimate == pytest.approx(0.02, abs=0.004)
    assert h2.gap is not None
    assert h2.gap.estimate == pytest.approx(0.02, abs=0.004)
    assert h2.n == 10


def test_a_gain_in_fit_alone_is_not_supported(simulated: Simulated) -> None:
    verdict = simulated("effect through loss only").judged()
    assert verdict.label is Label.INCONCLUSIVE
    assert verdict.hangs_on == "H2"


def test_no_effect_is_refuted_by_one_contrast_that_is_named(simulated: Simulated) -> None:
    verdict = simulated("null", draw=3).judged()
    assert verdict.label is Label.REFUTED
    assert verdict.sentence.startswith(f"Refuted at {verdict.hangs_on}: full")


def test_every_contrast_that_refutes_is_in_the_reason(gain: Study) -> None:
    frame = gain.frame.copy()
    frame.loc[frame["arm"].str.startswith("full"), "test_accuracy"] -= 0.06
    verdict = gain.judged(frame)
    assert verdict.hangs_on == "H2"
    assert verdict.sentence.startswith("Refuted at H2, H3b and H4: full is worse than control by ")
    for name in ("full is worse than rate", "full is worse than sgd", "The upper bounds are below"):
        assert name in verdict.sentence


def test_harm_is_called_harm(gain: Study) -> None:
    frame = gain.frame.copy()
    frame.loc[frame["arm"].str.startswith("full"), "test_accuracy"] -= 0.06
    verdict = gain.judged(frame)
    assert verdict.label is Label.REFUTED
    assert "full is worse than control by 4.0" in verdict.sentence


@pytest.mark.parametrize("offset", [0.06, -0.06])
def test_equal_gaps_give_an_effect_of_0_whatever_the_calibration_of_the_loss(
    offset: float,
) -> None:
    random, rows = np.random.default_rng(3), []
    for seed in range(1000, 1005):
        common = random.normal(0, 0.003)
        for arm in ("indian", "sgd", "c1", "rate"):
            for epoch in range(1, 13):
                loss = 2.3 * np.exp(-0.35 * epoch)
                train = min(1.0, 1 - 0.3 * loss + (offset * loss if arm == "indian" else 0))
                test = float(np.clip(train - 0.02 + common + random.normal(0, 0.001), 0, 1))
                rows.append((arm, seed, epoch, loss, train, test))
    columns = ["arm", "seed", "epoch", "train_loss", "train_accuracy", "test_accuracy"]
    claims = ClaimsSection(
        h2=MatchedLoss(arm="indian", baseline="sgd", matched_rate="c1"),
        h3b=TuningGain(rate="rate", full="indian"),
    )
    verdict = analyze(
        pd.DataFrame(rows, columns=columns),
        claims,
        registration=Registration("honest", tuple(range(1000, 1005))),
    )
    (h2,) = verdict.finding("H2").contrasts
    assert h2.gap is not None
    assert h2.gap.estimate == pytest.approx(0, abs=0.001)
    assert verdict.label is Label.INCONCLUSIVE
    assert verdict.hangs_on == "H2, gate searches"


def test_runs_that_fail_are_in_no_mean_and_are_told(gain: Study) -> None:
    frame = gain.frame.assign(run_state="complete")
    gone = (frame["arm"] == "sgd") & (frame["seed"] == 300)
    stuck = (frame["arm"] == "sgd") & (frame["seed"] == 301)
    frame.loc[gone, "run_state"] = "diverged"
    frame.loc[gone, ["train_loss", "test_accuracy"]] = np.nan
    frame.loc[stuck, ["train_accuracy", "test_accuracy"]] = 0.1
    verdict = gain.judged(frame)
    assert verdict.label is Label.SUPPORTED
    row = next(row for row in verdict.trained if row.arm == "sgd")
    assert (row.runs, row.failed) == (50, ("3/300", "3/301"))
    fresh = (frame["phase"] == "confirm") & (frame["epoch"] == frame["epoch"].max())
    ends = frame[fresh & ~(gone | stuck)]
    means = ends.groupby(["arm", "replicate"])["test_accuracy"].mean().groupby("arm")
    assert (row.test, row.deviation) == pytest.approx((means.mean()["sgd"], means.std()["sgd"]))
    assert [row.arm for row in verdict.trained] == list(
        means.mean().sort_values(ascending=False).index
    )
    made = next(c for c in verdict.finding("H3b").contrasts if c.baseline == "sgd")
    whole = next(c for c in gain.judged().finding("H3b").contrasts if c.baseline == "sgd")
    assert (made.left_out, made.baseline_failed) == (2, 2)
    assert made.differences[3] == pytest.approx(whole.differences[3], abs=0.02)


def test_one_search_is_over_seeds_and_inconclusive(gain: Study) -> None:
    one = gain.frame[gain.frame["replicate"] == 0].drop(columns="replicate")
    verdict = gain.judged(one)
    (h2,) = verdict.finding("H2").contrasts
    assert (h2.unit, h2.n) == ("seeds", 5)
    assert verdict.label is Label.INCONCLUSIVE
    assert "1 search of every arm (needed: at least 5)" in verdict.sentence
    assert "bounds alone" not in verdict.sentence


def test_a_spread_of_0_is_inconclusive(gain: Study) -> None:
    frame = gain.frame.assign(train_accuracy=0.9, test_accuracy=0.8)
    frame.loc[frame["arm"].str.startswith("full"), "test_accuracy"] = 0.82
    frame.loc[frame["arm"].str.endswith("usual"), "test_accuracy"] += 0.03
    verdict = gain.judged(frame)
    assert verdict.label is Label.INCONCLUSIVE
    assert "give the same difference" in verdict.sentence


def test_without_its_control_h2_is_not_tested_and_says_what_to_add(gain: Study) -> None:
    verdict = gain.judged(gain.frame[gain.frame["arm"] != "control"])
    assert verdict.finding("H2").label is Label.NOT_TESTED
    assert "response_of" in verdict.finding("H2").sentence
    assert verdict.label is Label.INCONCLUSIVE


def test_without_a_registration_all_is_exploratory(gain: Study) -> None:
    verdict = gain.judged(registration=None)
    assert verdict.label is Label.EXPLORATORY
    assert "nothing was registered" in verdict.sentence
    assert "SUPPORTED" not in str([found.label for found in verdict.findings])


def test_a_study_that_registered_no_verdict_is_described(gain: Study) -> None:
    table = Replication(arms=["full"], baselines=["sgd"])
    claims = gain.claims.model_copy(update={"verdict": "none", "h1": table})
    verdict = gain.judged(claims=claims)
    assert verdict.label is Label.DESCRIPTIVE
    assert verdict.sentence.startswith("The study tests no claim on (α, β)")
    assert not verdict.claimed
    assert "indian-tune compare" not in verdict.sentence
    assert verdict.finding("H1").sentence.startswith("The first arm has the better mean in ")
    # Readers would take the order of the arms for a result.
    described = gain.judged(claims=type(claims)(verdict="none", h1=table))
    assert "indian-tune compare" not in described.sentence
    alone = gain.judged(claims=type(claims)(verdict="none"))
    assert "`indian-tune compare` says whether two of them differ" in alone.sentence
    claimed = gain.judged(claims=gain.claims.model_copy(update={"h1": table}))
    assert claimed.finding("H1").sentence.startswith("A table that is no part of the claim. ")


def test_the_paper_s_protocol_is_described_and_never_supported(gain: Study) -> None:
    verdict = gain.judged(registration=Registration("paper", ()))
    assert verdict.label is Label.DESCRIPTIVE
    assert "SUPPORTED" not in str(verdict.as_dict())


def test_permuted_arms_are_never_supported(gain: Study) -> None:
    """Within a seed labels mean nothing: whatever the arms do, the claim is then false."""
    rng = np.random.default_rng(5)
    frame = gain.frame
    keys = ["phase", "replicate", "seed"]
    arms = sorted(frame["arm"].unique())
    for _ in range(10):
        order = {
            key: dict(zip(arms, rng.permutation(arms), strict=True))
            for key, _ in frame.groupby(keys)
        }
        names = [
            order[key][arm]
            for key, arm in zip(
                frame[keys].itertuples(index=False, name=None), frame["arm"], strict=True
            )
        ]
        assert gain.judged(frame.assign(arm=names)).label is not Label.SUPPORTED


def test_examples_widen_the_bounds(gain: Study) -> None:
    rng = np.random.default_rng(0)
    confirm = gain.frame.query("phase == 'confirm' and epoch == 3")
    hard = {arm: rng.random(200) for arm in confirm["arm"].unique()}
    rows = [
        {
            "arm": arm,
            "replicate": replicate,
            "seed": seed,
            "correct": hard[arm] < accuracy,
        }
        for arm, replicate, seed, accuracy in confirm[
            ["arm", "replicate", "seed", "test_accuracy"]
        ].to_numpy()
    ]
    (plain,) = gain.judged().finding("H2").contrasts
    (wide,) = gain.judged(examples=pd.DataFrame(rows)).finding("H2").contrasts
    assert wide.test.estimate == plain.test.estimate
    assert wide.test.low < plain.test.low - 0.01


def test_the_scope_counts_searches_seeds_and_epochs_of_the_frame(gain: Study) -> None:
    scope = gain.judged(scope=Scope(classes=10)).scope
    assert (scope.searches, scope.n, scope.epochs) == (10, 5, 3)


@pytest.mark.parametrize(
    ("extended", "words"),
    [
        ((), "6 trials of 2 epochs per search"),
        ((2, 2), "6 trials of 2 epochs per search (extended by 2)"),
        ((0, 3), "6 trials of 2 epochs per search (extended by 0 to 3, depending on the arm)"),
    ],
)
def test_the_scope_tells_by_how_much_the_searches_were_extended(
    extended: tuple[int, ...], words: str
) -> None:
    scope = Scope(trials=6, tune_epochs=2, searches=1, n=2, extended=extended)
    assert scope_words(scope).endswith(f"a budget of {words}")
