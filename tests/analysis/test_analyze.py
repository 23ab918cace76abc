"""A data frame and claims in, a verdict out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from indian_tune.analysis import Label, MatchedLossDetails, Registration, Scope
from indian_tune.analysis.simulation import EPOCHS

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.analysis import Verdict
    from tests.analysis.conftest import Study

    Simulated = Callable[..., Study]


def labels(verdict: Verdict) -> dict[str, Label]:
    return {found.hypothesis: found.label for found in verdict.findings}


def test_a_true_direct_effect_is_supported_with_its_scope(direct: Study) -> None:
    verdict = direct.judged()
    assert (verdict.label, verdict.broken) == (Label.SUPPORTED, None)
    assert labels(verdict) == {
        "H1": Label.SUPPORTED,
        "H2": Label.SUPPORTED,
        "H3a": Label.NOT_TESTED,
        "H3b": Label.SUPPORTED,
        "H4": Label.SUPPORTED,
    }
    assert "nin-small on digits, 10 seeds, 24 epochs, a budget of 16 trials" in verdict.sentence
    h2 = verdict.finding("H2")
    assert h2.estimate is not None
    assert h2.estimate == pytest.approx(0.02, abs=0.006)


def test_no_effect_is_not_supported_and_says_how_many_seeds_it_takes(
    simulated: Simulated,
) -> None:
    verdict = simulated("null", n=5).judged()
    assert (verdict.label, verdict.broken) == (Label.INCONCLUSIVE, "H2")
    h2 = verdict.finding("H2")
    assert h2.seeds_needed is not None
    assert h2.seeds_needed > 5
    assert f"about {h2.seeds_needed} seeds find an effect of 0.5 points" in h2.sentence


def test_what_comes_after_a_failure_is_exploratory_and_keeps_its_reading(
    simulated: Simulated,
) -> None:
    late = simulated("null").judged().finding("H3b")
    assert late.label is Label.EXPLORATORY
    assert late.reading in (Label.INCONCLUSIVE, Label.REFUTED)
    assert late.sentence.startswith("Exploratory, since H2 failed before it.")


def test_a_gain_that_equals_its_learning_rate_breaks_at_h2(simulated: Simulated) -> None:
    verdict = simulated("effect through learning rate only", n=20, draw=2).judged()
    assert (verdict.label, verdict.broken) == (Label.REFUTED, "H2")
    assert "The gain over sgd exists but equals its effective learning rate" in verdict.sentence


def test_a_failed_replication_does_not_gate_the_claim(direct: Study) -> None:
    frame = direct.frame.copy()
    better = frame["arm"] == "adam"
    frame.loc[better, "test_accuracy"] += 0.05
    verdict = direct.judged(frame)
    assert verdict.finding("H1").label is Label.REFUTED
    assert verdict.label is Label.SUPPORTED


def test_without_control_c1_a_gain_is_not_supported(direct: Study) -> None:
    frame = direct.frame[direct.frame["arm"] != "sgd-eta"]
    h2 = direct.judged(frame).finding("H2")
    assert h2.label is Label.INCONCLUSIVE
    assert "SGD at the matched effective learning rate" in h2.missing[0]


def test_a_hypothesis_without_its_arms_is_not_tested_and_says_what_to_add(direct: Study) -> None:
    frame = direct.frame[direct.frame["arm"] != "rate"]
    found = direct.judged(frame).finding("H3b")
    assert (found.label, found.reading) == (Label.NOT_TESTED, None)
    assert found.missing == ("runs of arm 'rate'",)
    assert direct.judged(frame).label is Label.INCONCLUSIVE


def test_claims_without_hypotheses_test_nothing(direct: Study) -> None:
    empty = dataclasses.replace(direct, claims=type(direct.claims)())
    verdict = empty.judged()
    assert verdict.label is Label.NOT_TESTED
    assert set(labels(verdict).values()) == {Label.NOT_TESTED}


def test_an_insensitive_assay_is_inconclusive(direct: Study) -> None:
    frame = direct.frame.copy()
    frame.loc[frame["arm"] == "cell-001", "test_accuracy"] -= 0.03
    verdict = direct.judged(frame)
    h4 = verdict.finding("H4")
    assert [check.passed for check in h4.checks] == [True, False]
    assert (h4.label, verdict.label) == (Label.INCONCLUSIVE, Label.INCONCLUSIVE)
    assert "Weight decay alone is not seen to help" in h4.sentence


def test_a_refuted_link_refutes_only_while_the_assay_checks_pass(
    simulated: Simulated,
) -> None:
    study = simulated("null", n=20)
    frame = study.frame.copy()
    frame.loc[frame["arm"] == "indian", "test_accuracy"] -= 0.02
    assert study.judged(frame).label is Label.REFUTED
    frame.loc[frame["arm"] == "cell-010", "test_accuracy"] -= 0.03
    verdict = study.judged(frame)
    assert verdict.label is Label.INCONCLUSIVE
    assert "Dropout alone is not seen to help" in verdict.sentence


def test_without_a_registration_all_is_exploratory(direct: Study) -> None:
    verdict = direct.judged(registration=None)
    assert verdict.label is Label.EXPLORATORY
    assert "nothing was registered" in verdict.sentence
    assert set(labels(verdict).values()) == {Label.EXPLORATORY, Label.NOT_TESTED}
    assert verdict.finding("H2").reading is Label.SUPPORTED


@pytest.mark.parametrize(
    ("registration", "reason"),
    [
        (Registration("honest", tuple(range(12))), "the fresh seeds are 0, 1, 2, 3, 4, 5, … (10)"),
        (
            Registration("honest", tuple(range(10)), breaks=("the study file was changed",)),
            "the study file was changed",
        ),
    ],
)
def test_a_broken_registration_is_exploratory_with_the_reason(
    direct: Study, registration: Registration, reason: str
) -> None:
    verdict = direct.judged(registration=registration)
    assert verdict.label is Label.EXPLORATORY
    assert reason in verdict.sentence


def test_a_search_of_another_budget_is_exploratory(direct: Study) -> None:
    tune = direct.frame.assign(phase="tune", trial=direct.frame["seed"])
    registration = dataclasses.replace(direct.registration, trials={"indian": 12})
    verdict = direct.judged(pd.concat([direct.frame, tune]), registration=registration)
    assert verdict.exploratory == ("arm 'indian' has 10 trials of the search, registered were 12",)


def test_the_paper_s_protocol_is_described_and_never_supported(direct: Study) -> None:
    verdict = direct.judged(registration=Registration("paper", tuple(range(10))))
    assert verdict.label is Label.DESCRIPTIVE
    assert "underpowered" in verdict.sentence
    assert "SUPPORTED" not in str(verdict.as_dict())


def test_winners_on_the_edge_of_their_range_make_a_label_provisional(direct: Study) -> None:
    verdict = direct.judged(edges={"indian": ["indian: gamma0 = 1 is at the end of 0.01 to 1"]})
    assert verdict.finding("H2").provisional == ("indian: gamma0 = 1 is at the end of 0.01 to 1",)
    assert verdict.finding("H4").provisional == ()
    assert "Provisional" in verdict.sentence


def test_one_seed_is_inconclusive(direct: Study) -> None:
    one = direct.frame[direct.frame["seed"] == 0]
    verdict = direct.judged(one, registration=Registration("honest", (0,)))
    assert labels(verdict)["H1"] is Label.INCONCLUSIVE
    assert "one seed shows no spread" in verdict.finding("H1").sentence


def test_a_training_loss_that_some_run_never_reaches_is_dropped_for_all_arms(
    simulated: Simulated,
) -> None:
    details = simulated("missing support").judged().finding("H2").details
    assert isinstance(details, MatchedLossDetails)
    thresholds = details.thresholds
    assert [threshold.kept for threshold in thresholds] == [True, True, False, False, False]
    assert thresholds[-1].unreached == tuple(f"sgd {seed}" for seed in range(10))


def test_missing_support_is_inconclusive_where_all_losses_were_registered(
    simulated: Simulated,
) -> None:
    found = simulated("missing support, none allowed").judged().finding("H2")
    assert found.label is Label.INCONCLUSIVE
    assert found.sentence.startswith("No common support: not every run crosses 3 of the 5")


def test_a_run_that_diverged_counts_with_the_score_of_chance(direct: Study) -> None:
    frame = direct.frame.assign(run_state="complete")
    gone = (frame["arm"] == "adam") & (frame["seed"] == 3)
    frame.loc[gone, "run_state"] = "diverged"
    frame = frame[~(gone & (frame["epoch"] > 5))]
    frame.loc[gone & (frame["epoch"] == 5), ["train_loss", "test_accuracy"]] = np.nan
    verdict = direct.judged(frame)
    assert verdict.diverged == ("adam 3",)
    made = next(c for c in verdict.finding("H1").primary if c.baseline == "adam")
    whole = next(c for c in direct.judged().finding("H1").primary if c.baseline == "adam")
    last = direct.frame.query("arm == 'adam' and seed == 3")["test_accuracy"].iloc[-1]
    assert made.differences[3] == pytest.approx(whole.differences[3] + last - 0.1)
    assert made.differences[4] == whole.differences[4]


def test_sensitivity_rows_never_choose_the_best_test_epoch(direct: Study) -> None:
    frame = direct.frame.copy()
    # One epoch of the test set is far too good; the validation part does not see it.
    frame.loc[(frame["arm"] == "indian") & (frame["epoch"] == 7), "test_accuracy"] = 1.0
    rows = direct.judged(frame).finding("H3b").sensitivity
    assert {row.outcome for row in rows} == {"best validation epoch", "last epochs"}
    assert all(row.estimate < 0.05 for row in rows)


def test_images_add_bounds_over_seeds_and_images(direct: Study) -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"arm": arm, "seed": seed, "correct": rng.random(200) < (0.7 if arm == "indian" else 0.6)}
        for arm in ("indian", "rate", "sgd", "adam")
        for seed in range(10)
    ]
    (made,) = direct.judged(examples=pd.DataFrame(rows)).finding("H3b").images
    assert (made.images, made.n) == (200, 10)
    assert 0.0 < made.low < made.estimate < made.high < 0.2


def test_the_scope_counts_seeds_and_epochs_of_the_frame(direct: Study) -> None:
    verdict = direct.judged(scope=Scope(classes=10))
    assert (verdict.scope.n, verdict.scope.epochs) == (10, EPOCHS)


def test_permuting_arms_within_seeds_gives_uniform_p_values(simulated: Simulated) -> None:
    """Under random labels of a stored study the test of H3b has uniform p-values."""
    study = simulated("direct effect of 1 points", n=9)
    last = study.frame[study.frame["epoch"] == EPOCHS]
    table = last.pivot(index="seed", columns="arm", values="test_accuracy")
    rng = np.random.default_rng(5)
    found = []
    for _ in range(60):
        shuffled = table.copy()
        shuffled.loc[:, :] = rng.permuted(table.to_numpy(), axis=1)
        frame = shuffled.melt(ignore_index=False, value_name="test_accuracy").reset_index()
        frame = frame.assign(epoch=1, train_loss=1.0)
        p = study.judged(frame).finding("H3b").p
        assert p is not None
        found.append(p)
    assert stats.kstest(found, "uniform").pvalue > 0.01
