"""Studies that are judged by another metric than accuracy: the same verdict, in its own unit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from indian_tune.analysis import Label
from indian_tune.analysis.figures import (
    Material,
    best_so_far,
    best_so_far_table,
    exhibits,
    step_size_table,
    step_sizes,
)
from indian_tune.analysis.frame import ACCURACIES, scored
from indian_tune.analysis.typography import estimand_rows, failed_runs
from indian_tune.analysis.verdict_text import verdict_lines
from indian_tune.errors import InputError
from indian_tune.outcome import ACCURACY, Outcome

if TYPE_CHECKING:
    import pandas as pd

    from indian_tune.analysis.figures import Exhibit
    from tests.analysis.conftest import Study

MSE = Outcome("mse", "MSE", "MSE", chance=90.0)
R2 = Outcome("r2", "R²", "R²", greater_is_better=True, best=1.0, chance=0.9)


def other(study: Study, outcome: Outcome, scale: float = 1.0) -> Study:
    """Return a study of a task whose error is the share of wrong examples, times a scale."""
    columns = {column: outcome.column(column) for column in ACCURACIES if column in study.frame}
    frame = study.frame.rename(columns=columns)
    for column in columns.values():
        frame[column] = outcome.value(scale * (1 - frame[column]))
    claims = study.claims.model_copy(update={"delta": scale * study.claims.delta})
    return replace(
        study,
        frame=frame,
        claims=claims,
        scope=replace(study.scope, classes=None, outcome=outcome),
    )


@pytest.mark.parametrize(("outcome", "scale"), [(MSE, 100.0), (R2, 1.0)], ids=["mse", "r2"])
def test_the_verdict_is_that_of_the_mirrored_accuracies(
    gain: Study, outcome: Outcome, scale: float
) -> None:
    usual, verdict = gain.judged(), other(gain, outcome, scale).judged()
    assert (
        (verdict.label, verdict.strongly)
        == (usual.label, usual.strongly)
        == (
            Label.SUPPORTED,
            True,
        )
    )
    for found, known in zip(verdict.findings, usual.findings, strict=True):
        for made, same in zip(found.contrasts, known.contrasts, strict=True):
            assert made.test.estimate == pytest.approx(scale * same.test.estimate)
            assert made.test.low == pytest.approx(scale * same.test.low, rel=1e-3)
            assert made.left_out == same.left_out
    assert f"improves test {outcome.title} by more than {scale * 0.005:g} {outcome.title}" in (
        verdict.sentence
    )
    text = "\n".join(verdict_lines(verdict, details=True))
    assert "points" not in text
    assert "accuracy" not in text
    assert f"Differences in {outcome.unit}, above 0 where the first arm is better" in text


def test_plain_data_say_what_was_judged_by_and_nothing_of_classification(gain: Study) -> None:
    assert "outcome" not in json.dumps(gain.judged().as_dict(), default=str)
    plain = other(gain, MSE, 100.0).judged().as_dict()
    assert plain["scope"]["outcome"]["title"] == "MSE"


def exhibits_of(study: Study) -> dict[str, Exhibit]:
    verdict = study.judged()
    return {each.name: each for each in exhibits(Material(study.frame, study.claims, verdict))}


def test_figures_and_their_numbers_are_in_the_unit_of_the_metric(gain: Study) -> None:
    usual, shown = exhibits_of(gain), exhibits_of(other(gain, MSE, 100.0))
    assert shown.keys() == usual.keys()
    for name, exhibit in shown.items():
        words = " ".join((exhibit.title, exhibit.caption, exhibit.alt))
        assert " % " not in words.replace("95 % t intervals", ""), name
        labels = [axes.get_ylabel() + axes.get_xlabel() for axes in exhibit.figure.axes]
        assert not [label for label in labels if "%" in label or "accuracy" in label], name
    curves: pd.DataFrame = shown["learning-curves"].table
    known: pd.DataFrame = usual["learning-curves"].table
    rows, same = curves[curves["metric"] == "test_mse"], known[known["metric"] == "test_accuracy"]
    assert rows["mean"].tolist() == pytest.approx((100 * (1 - same["mean"])).tolist())
    assert rows["min"].tolist() == pytest.approx((100 * (1 - same["max"])).tolist())
    assert {"arm_mse", "baseline_mse"} <= set(shown["paired-seeds"].table)


def test_a_metric_that_is_to_be_large_is_shown_as_it_is(gain: Study) -> None:
    study = other(gain, R2)
    last = study.frame["epoch"] == study.frame["epoch"].max()
    for exhibit in exhibits_of(study).values():
        words = [exhibit.title, exhibit.caption, exhibit.alt]
        for axes in exhibit.figure.axes:
            words += [axes.get_xlabel(), axes.get_ylabel()]
        said = " ".join([*words, exhibit.figure.get_supylabel()])
        assert "1 - " not in said, exhibit.name
        assert "accurac" not in exhibit.alt, exhibit.name
        assert not set(exhibit.table) & {"train_error", "test_error", "error"}, exhibit.name
    shown = exhibits_of(study)
    ways = shown["test-against-training-error"]
    assert ways.title == "Test R² against training R²"
    (axes,) = ways.figure.axes
    assert axes.get_xlim()[0] < axes.get_xlim()[1]
    fresh = study.frame[last & (study.frame["phase"] == "confirm")]
    ends = ways.table[ways.table["epoch"] == ways.table["epoch"].max()].set_index("arm")
    for arm, part in fresh[fresh["arm"].isin(ends.index)].groupby("arm"):
        assert ends.loc[arm, "test_r2"] == pytest.approx(part["test_r2"].mean())
    frame = study.frame.assign(trial=study.frame["seed"], gamma0=study.frame["seed"] / 1000.0)
    tuned = scored(frame.assign(phase="tune"), R2)
    for table, figure in (
        (best_so_far_table(tuned), best_so_far(tuned)),
        (step_size_table(tuned), step_sizes(tuned)),
    ):
        assert set(table["objective"]) == {"validation_r2"}
        assert figure.axes[0].get_yscale() == "linear"
        assert "validation R²" in figure.axes[0].get_ylabel() + figure.get_supylabel()
    made = best_so_far_table(tuned)
    assert made["best"].tolist() == pytest.approx(
        made.groupby(["arm", "replicate"], sort=False)["score"].cummax().tolist()
    )
    found = step_size_table(tuned)
    best = found.loc[found.groupby("arm")["score"].idxmax(), "best"]
    assert best.all()


def test_the_axes_of_test_and_training_errors_follow_the_data(gain: Study) -> None:
    study = other(gain, MSE, 100.0)
    for column in ("train_mse", "test_mse"):
        study.frame[column] += 1000
    ways = exhibits_of(replace(study, scope=replace(study.scope, outcome=replace(MSE, chance=5e3))))
    (axes,) = ways["test-against-training-error"].figure.axes
    assert min(*axes.get_xlim(), *axes.get_ylim()) > 990
    assert axes.get_xlim()[0] > axes.get_xlim()[1]


def test_a_frame_without_the_metric_is_refused_by_its_name(gain: Study) -> None:
    study = other(gain, MSE)
    with pytest.raises(InputError, match=r"the frame lacks the column test_mse.*--unseal"):
        study.judged(study.frame.drop(columns="test_mse"))
    broken = study.frame.astype({"test_mse": object})
    broken.loc[0, "test_mse"] = "much"
    with pytest.raises(InputError, match="column test_mse must contain numbers, got 'much'"):
        study.judged(broken)


def test_runs_that_learn_nothing_are_told_by_the_error_of_what_knows_nothing(gain: Study) -> None:
    study = other(gain, MSE, 100.0)
    frame = study.frame.copy()
    arm = frame["arm"].iloc[0]
    first = (frame["arm"] == arm) & (frame["seed"] == frame["seed"].min())
    frame.loc[first, "train_mse"] = 89.9
    verdict = study.judged(frame)
    assert [len(row.failed) for row in verdict.trained if row.arm == arm] == [1]
    (*_, rule) = failed_runs(verdict)
    assert rule == (
        "A run failed if it diverged or did not train: its training MSE ended above 89.55, which "
        "is 99.5 % of that at chance level (90)."
    )
    assert failed_runs(study.judged()) == []
    # Of an error the smallest is best, and it is shown as it is.
    tests = [row.test for row in verdict.trained if row.test is not None]
    assert tests == sorted(tests)
    fresh = (frame["phase"] == "confirm") & (frame["epoch"] == frame["epoch"].max())
    ends = frame[fresh & (frame["arm"] == verdict.trained[0].arm)]
    assert tests[0] == pytest.approx(ends.groupby("replicate")["test_mse"].mean().mean())


@pytest.mark.parametrize(
    ("outcome", "share"),
    [
        *((replace(ACCURACY, chance=1 - 1 / k), share) for k, share in ((2, 0.95), (3, 0.95))),
        *((replace(ACCURACY, chance=1 - 1 / k), share) for k, share in ((10, 0.8), (1000, 0.8))),
        (replace(ACCURACY, chance=0.8), 1 - 0.2 * 4 / 9),
        (replace(ACCURACY, chance=1.0), 0.8),
        (MSE, 0.995),
        (R2, 0.995),
    ],
)
def test_noise_may_leave_little_room_below_chance(outcome: Outcome, share: float) -> None:
    assert outcome.chance is not None
    assert outcome.trained_error == pytest.approx(share * outcome.chance)
    assert outcome.trained_score == pytest.approx(1 - share * outcome.chance)
    assert ACCURACY.trained_error is None


def test_a_best_value_that_no_run_comes_near_is_doubted_where_runs_fail(gain: Study) -> None:
    study, reward = other(gain, R2), replace(R2, title="reward", best=1e6, chance=1e6 + 1)
    verdict = replace(study, scope=replace(study.scope, outcome=reward)).judged()
    assert all(len(row.failed) == row.runs for row in verdict.trained)
    (*_, rule, doubt) = failed_runs(verdict)
    assert rule.endswith(
        "its training reward ended below 4999, which is 0.5 % of the way from chance (-1) to best "
        "(1e+06)."
    )
    assert doubt.startswith("best = 1e+06 may be out of reach: the best result is reward 0.9")
    assert "a run counts as trained from 4999 on" in doubt
    assert verdict.as_dict()["doubt"] == verdict.doubt
    assert "doubt" not in gain.judged().as_dict()
    # Nothing is said of runs that are worse than chance.
    assert reward.doubt([1e6]) != ""
    assert reward.doubt([1e6 + 2, float("inf")]) == ""
    # Noise may leave little room, of which nothing is said where all runs train.
    assert other(gain, replace(R2, chance=1.0)).judged().doubt == ""
    share = replace(ACCURACY, chance=0.9)
    assert share.doubt([0.89]) == replace(MSE, chance=0.9).doubt([0.89]) == ""
    assert share.untrained_words == (
        "its training error ended above 72 %, which is 80 % of that at chance level (90 %)"
    )


def test_which_examples_are_right_says_nothing_of_another_metric(gain: Study) -> None:
    study = other(gain, MSE)
    examples = study.frame[["arm", "replicate", "seed"]].drop_duplicates()
    random = np.random.default_rng(0)
    # What an arm gets right is the same in all of its runs, so that the examples vary.
    right: dict[str, Any] = {arm: random.random(20) > 0.5 for arm in sorted(set(examples["arm"]))}
    examples = examples.assign(correct=examples["arm"].map(right))
    assert study.judged(examples=examples) == study.judged()
    assert gain.judged(examples=examples) != gain.judged()


def test_numbers_are_shown_in_their_unit() -> None:
    assert ACCURACY.signed(0.0123) == "+1.23"
    assert (ACCURACY.amount(0.005), MSE.amount(0.005)) == ("0.5 points", "0.005 MSE")
    assert ACCURACY.amount(0.01) == "1 point"
    assert (MSE.signed(-0.0123), MSE.error_text(12.5)) == ("−0.0123", "12.5")
    assert MSE.error_texts([12.5, 12.34], [0.25, None]) == ["12.50 ±0.25", "12.34"]
    assert R2.error_texts([0.5, 0.488, None], [0.01, 0.123, None]) == [
        "0.500 ±0.01",
        "0.512 ±0.12",
        "–",
    ]
    assert ACCURACY.error_texts([0.25, None], [0.01, None]) == ["25.00 ±1.0", "–"]
    assert (R2.error(0.75), R2.value(0.25), R2.score(0.75)) == (0.25, 0.75, 0.75)
    assert (MSE.label("test_accuracy"), ACCURACY.label("test_accuracy")) == (
        "test MSE",
        "test accuracy, %",
    )
    assert estimand_rows(()) == [("contrast", "", "effect", "at least", "at most", "n")]
