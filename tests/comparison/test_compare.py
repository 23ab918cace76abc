"""Two arms of a frame compared: label, interval, pairing, failures, what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import indian_tune
from indian_tune.errors import InputError
from indian_tune.service.output import json_text


def frame_of(metric: str = "accuracy", **arms: Any) -> pd.DataFrame:
    """Return a row per run: the values of every arm on the seeds 0, 1, …"""
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed, metric: value}
            for arm, values in arms.items()
            for seed, value in enumerate(values)
        ]
    )


B = [0.71, 0.72, 0.70, 0.73, 0.69]
A = [0.741, 0.752, 0.729, 0.763, 0.718]


def test_paired_runs_have_the_interval_of_a_paired_t() -> None:
    found = indian_tune.compare(frame_of(A=A, B=B), "A", "B", delta=0.01)
    interval = stats.ttest_rel(A, B).confidence_interval(0.95)
    assert (found.contrast.difference.low, found.contrast.difference.high) == pytest.approx(
        (interval.low, interval.high)
    )
    assert (found.label, found.contrast.paired, found.contrast.unit) == ("SUPPORTED", True, "seeds")
    assert (repr(found), str(found)) == ("<Comparison 'A' - 'B': SUPPORTED>", found.sentence)
    assert found.sentence == (
        "A is better than B, by more than 0.01: in accuracy it is 0.0306 better (95 % interval "
        "+0.0280 to +0.0332, 5 seeds, paired); this holds for these configurations only."
    )
    assert found.pairing.width is not None
    assert found.pairing.width < 0.3


def test_arms_without_a_common_seed_have_welch_s_interval() -> None:
    frame = frame_of(A=A, B=B[:4])
    frame.loc[frame["arm"] == "B", "seed"] += 100
    found = indian_tune.compare(frame, "A", "B")
    interval = stats.ttest_ind(A, B[:4], equal_var=False).confidence_interval(0.95)
    assert (found.contrast.difference.low, found.contrast.difference.high) == pytest.approx(
        (interval.low, interval.high)
    )
    assert "5 and 4 runs, unpaired" in found.sentence
    assert (
        "Not paired, because the arms have no seed in common: on the same seeds" in found.markdown()
    )


def test_without_seeds_every_row_is_a_repetition() -> None:
    found = indian_tune.compare(frame_of(A=A, B=B).drop(columns="seed"), "A", "B")
    assert (found.contrast.paired, found.contrast.unit) == (False, "runs")
    assert "because no seeds are known" in found.markdown()


@pytest.mark.parametrize(
    ("shift", "delta", "label", "words"),
    [
        (0.03, 0.01, "SUPPORTED", "A is better than B, by more than 0.01"),
        (0.03, 0.05, "NEGLIGIBLE", "A is better than B, but by less than 0.05"),
        (0.0, 0.05, "REFUTED", "Neither of A and B is better by 0.05"),
        (-0.0015, 0.002, "REFUTED", "A is not better than B by 0.002"),
        (-0.03, 0.05, "REFUTED", "A is worse than B"),
        (-0.03, None, "REFUTED", "A is worse than B"),
        (0.0, 0.0001, "INCONCLUSIVE", "Whether A is better than B is open"),
    ],
)
def test_the_label_follows_from_interval_and_delta(
    shift: float, delta: float | None, label: str, words: str
) -> None:
    noise = np.array([0.001, -0.002, 0.0015, -0.001, 0.0005])
    frame = frame_of(A=np.array(B) + shift + noise, B=B)
    found = indian_tune.compare(frame, "A", "B", delta=delta)
    assert found.label == label
    assert found.sentence.startswith(words)


def test_lower_is_better_for_losses_and_a_difference_above_0_is_in_favour_of_the_first() -> None:
    found = indian_tune.compare(frame_of("val_loss", A=B, B=A), "A", "B")
    assert (found.better, found.label) == ("lower", "SUPPORTED")
    assert found.contrast.difference.estimate == pytest.approx(0.0306)
    turned = indian_tune.compare(frame_of("val_loss", A=B, B=A), "A", "B", better="higher")
    assert turned.contrast.difference.estimate == pytest.approx(-0.0306)


def test_a_run_that_failed_is_in_no_mean_and_counts_apart() -> None:
    ours = [*A, 0.74, 0.75, 0.73, math.inf, 0.74]
    theirs = [*B, 0.70, 0.72, 0.71, 0.70, 0.69]
    found = indian_tune.compare(frame_of(A=ours, B=theirs), "A", "B")
    made = found.contrast
    assert (made.difference.n, made.left_out, made.of_a.failed, made.of_b.failed) == (9, 1, 1, 0)
    assert found.label == "INCONCLUSIVE"
    assert found.sentence.startswith(
        "Whether A is better than B is open, because A fails in 1 of 10 runs, B in 0 of 10: "
    )
    assert made.superiority.estimate == 0.9
    assert indian_tune.compare(frame_of(A=theirs, B=ours), "A", "B").label == "INCONCLUSIVE"
    # The better arm failing less takes nothing away.
    other = [*theirs[:8], math.nan, theirs[9]]
    frame = frame_of(A=[*ours[:8], 0.74, ours[9]], B=other)
    found = indian_tune.compare(frame, "A", "B", missing="failed")
    assert (found.label, found.contrast.of_b.failed) == ("SUPPORTED", 1)


def test_a_missing_value_and_a_state_both_make_a_failure() -> None:
    frame = frame_of(A=[*A[:4], math.nan], B=B).assign(run_state=["diverged", *["complete"] * 9])
    found = indian_tune.compare(frame, "A", "B", missing="failed")
    assert found.contrast.of_a.failed == 2


def test_an_arm_that_never_trains_is_told_by_its_failures() -> None:
    frame = frame_of(A=A, B=B).assign(run_state="complete")
    frame.loc[frame["arm"] == "A", "run_state"] = "diverged"
    found = indian_tune.compare(frame, "A", "B")
    assert found.label == "INCONCLUSIVE"
    assert found.sentence == (
        "A and B cannot be compared in accuracy: A trained in 0 of 5 runs, B in 5 of 5 (exact p = "
        "0.062)."
    )


def test_searches_that_were_repeated_make_it_speak_of_tunings() -> None:
    rng = np.random.default_rng(0)
    frame = pd.concat(
        [
            frame_of(A=np.array(A) + shift, B=B).assign(replicate=replicate)
            for replicate, shift in enumerate(0.01 * rng.standard_normal(4))
        ]
    )
    found = indian_tune.compare(frame, "A", "B")
    assert (found.scope, found.contrast.unit, found.contrast.difference.n) == (
        "these tunings",
        "searches",
        4,
    )
    means = frame.pivot_table(index="replicate", columns="arm", values="accuracy")
    interval = stats.ttest_rel(means["A"], means["B"]).confidence_interval(0.95)
    assert found.contrast.difference.high == pytest.approx(interval.high)


def test_several_tasks_are_averaged_and_shown_each() -> None:
    parts = [frame_of(A=np.array(A) + x, B=B).assign(task=f"t{x}") for x in (0.0, 0.1)]
    found = indian_tune.compare(pd.concat(parts), "A", "B")
    assert [part.task for part in found.tasks] == ["t0.0", "t0.1"]
    assert found.contrast.difference.estimate == pytest.approx(0.0306 + 0.05)
    assert found.label == "SUPPORTED"


def test_what_an_arm_lacks_that_is_not_compared_does_not_matter() -> None:
    frame = frame_of(A=A, B=B, C=[math.nan, 0.5])
    assert indian_tune.compare(frame, "A", "B").label == "SUPPORTED"
    with pytest.raises(InputError, match="accuracy is missing in 1 run"):
        indian_tune.compare(frame, "A", "C")


def test_tasks_that_one_arm_lacks_are_left_out_and_said() -> None:
    alone = frame_of(A=[0.1, 0.2]).assign(task="other")
    found = indian_tune.compare(pd.concat([GOOD.assign(task="x"), alone]), "A", "B")
    assert found.notes == ("Tasks that only one arm has are excluded: other.",)
    assert (found.label, found.tasks) == ("SUPPORTED", ())


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1e9, 1e99])
def test_values_of_any_size_are_compared(scale: float) -> None:
    frame = frame_of(A=scale * np.array(A), B=scale * np.array(B))
    assert indian_tune.compare(frame, "A", "B").contrast.superiority.estimate == 1.0
    beyond = indian_tune.compare(frame_of(A=[*A, 1e101], B=[*B, 0.7]), "A", "B")
    assert beyond.contrast.of_a.failed == 1


def test_the_last_step_of_a_run_counts_and_other_lengths_are_said() -> None:
    steps = pd.concat([frame_of(A=A, B=B).assign(epoch=n) for n in (1, 2)])
    steps.loc[steps["epoch"] == 1, "accuracy"] = 0.1
    assert indian_tune.compare(steps, "A", "B").label == "SUPPORTED"
    short = steps[(steps["arm"] == "A") | (steps["epoch"] == 1)]
    keys = [caution.key for caution in indian_tune.compare(short, "A", "B").cautions]
    assert "horizons" in keys


def test_further_seeds_are_as_many_as_settle_it() -> None:
    values = np.array([0.01, -0.004, 0.012, 0.003, -0.002])
    found = indian_tune.compare(frame_of(A=np.array(B) + values, B=B), "A", "B", delta=0.002)
    assert found.label == "INCONCLUSIVE"
    assert found.further is not None
    assert (found.further.enough, 5 <= found.further.units <= 100) == (True, True)
    assert 0.8 <= found.further.probability < 0.95
    assert (
        f"{found.further.units} further seeds of each arm would give a decision" in found.markdown()
    )


def test_one_seed_says_that_it_shows_no_spread() -> None:
    found = indian_tune.compare(frame_of(A=A[:1], B=B[:1]), "A", "B")
    assert (found.label, found.further) == ("INCONCLUSIVE", None)
    assert found.cautions[0].key == "one-seed"
    assert "(no interval, as one seed shows no spread, 1 seed, paired)" in found.sentence


@pytest.mark.parametrize(
    ("arms", "how", "reason"),
    [
        (
            {"A": A[:3], "B": B[:3]},
            {"sequential": True},
            "a sequential interval needs at least 4 s",
        ),
        (
            {"A": A[:1], "B": B[:1]},
            {"sequential": True},
            "a sequential interval needs at least 4 s",
        ),
        ({"A": [0.9] * 4, "B": [0.7] * 4}, {"sequential": True}, "all differences are equal, 4 s"),
        ({"A": [0.9, 0.8], "B": [0.7, 0.6]}, {}, "all differences are equal, 2 seeds, paired"),
        ({"A": [0.9, 0.3], "B": [0.3 * 3, 0.1 * 3]}, {}, "all differences are equal, 2 seeds"),
        ({"A": [1, 1], "B": [0, 0]}, {"pairing": "none"}, "the values do not vary, 2 and 2 runs"),
        ({"A": A, "B": B[:1]}, {"pairing": "none"}, "one run of an arm shows no spread, 5 and 1"),
    ],
)
def test_why_there_is_no_interval(arms: dict[str, Any], how: dict[str, Any], reason: str) -> None:
    found = indian_tune.compare(frame_of(**arms), "A", "B", **how)
    assert f"(no interval, as {reason}" in found.sentence
    assert found.label == "INCONCLUSIVE"


def test_an_average_says_on_which_task_there_is_no_interval() -> None:
    tasks = [frame_of(A=A, B=B).assign(task="one"), frame_of(A=A[:1], B=B[:1]).assign(task="two")]
    found = indian_tune.compare(pd.concat(tasks), "A", "B")
    assert "no interval, as one seed shows no spread on two" in found.sentence


@pytest.mark.parametrize("how", [{}, {"pairing": "none"}, {"sequential": True}])
def test_an_answer_does_not_depend_on_the_unit(how: dict[str, Any]) -> None:
    usual, tiny = (
        indian_tune.compare(
            frame_of("loss", A=np.array(A) * unit, B=np.array(B) * unit), "B", "A", **how
        )
        for unit in (1.0, 1e-13)
    )
    assert tiny.label == usual.label == "SUPPORTED"
    of, ones = usual.contrast.difference, tiny.contrast.difference
    assert (ones.low * 1e13, ones.high * 1e13) == pytest.approx((of.low, of.high))
    assert "in loss it is 3.06e−15 better" in tiny.sentence


def test_a_difference_far_smaller_than_its_interval_is_no_zero() -> None:
    wide = indian_tune.compare(frame_of(A=[0.5, 0.9, 0.404], B=[0.7, 0.6, 0.5]), "A", "B")
    assert "it is 0.001 better (95 % interval −0.6" in wide.sentence


def test_the_result_is_plain_json_with_its_label() -> None:
    found = indian_tune.compare(frame_of(A=A, B=B), "A", "B")
    read = json.loads(json_text(found.as_dict()))
    assert read["label"] == "SUPPORTED"
    assert read["exploratory"] == ["no comparison was registered before the runs"]


def test_columns_are_mapped_and_rows_chosen() -> None:
    frame = frame_of(A=A, B=B).rename(columns={"arm": "optimizer", "seed": "run_seed"})
    wrong = frame.assign(accuracy=0.0, size="big")
    both = pd.concat([frame.assign(size="small"), wrong]).assign(seed=3)
    found = indian_tune.compare(
        both,
        "A",
        "B",
        columns={"arm": "optimizer", "seed": "run_seed"},
        where={"size": "small"},
    )
    assert (found.label, found.contrast.difference.n) == ("SUPPORTED", 5)


GOOD = frame_of(A=A, B=B)
REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (pd.concat([GOOD, GOOD.iloc[:1]]), {}, "arm 'A' has 2 rows for seed 0: give one run per arm"),
    (
        pd.concat([GOOD.assign(seed=0, trial=0), GOOD.assign(seed=0, trial=1)]),
        {},
        "rows for seed 0: give one run per arm and seed; trials of a search are not repetitions",
    ),
    (
        GOOD.assign(seed=range(10)),
        {"pairing": "seed"},
        "arms 'A' and 'B' have no seed in common: run",
    ),
    (
        GOOD.assign(accuracy=[math.nan, *A[1:], *B]),
        {},
        r"accuracy is missing in 1 run \(arm 'A', seeds 0\): give missing='failed' if they failed",
    ),
    (
        GOOD.assign(accuracy=["good", *map(str, [*A[1:], *B])]),
        {"metric": "accuracy"},
        "column accuracy must contain numbers, got 'good' of arm 'A'",
    ),
    (GOOD.rename(columns={"accuracy": "size"}), {"metric": "size"}, "lower or a higher size is"),
    (
        GOOD.assign(loss=1.0, error=float("nan"), precision="bf16"),
        {},
        "name the metric with metric=…: accuracy, loss could be it",
    ),
    (GOOD, {"metric": "acuracy"}, "is not a column. Did you mean 'accuracy'?"),
    (GOOD.drop(columns="arm"), {}, r"there is no column arm: choose one with columns=\{'arm'"),
    (GOOD.assign(seed=[math.nan, *range(9)]), {}, "column seed has empty values"),
    (
        GOOD.assign(run_state="running"),
        {},
        r"run of arm 'A' \(seed 0\) is running: wait until all runs",
    ),
    (GOOD, {"delta": -1.0}, "delta = -1.0 must be a number above 0"),
    (GOOD, {"delta": math.nan}, "delta = nan must be a number above 0"),
    (GOOD, {"alpha": 1.0}, "alpha = 1.0 must be above 0 and below 0.5"),
    (GOOD, {"b": "A"}, "a and b are both 'A': name two different arms"),
    (GOOD, {"b": "C"}, "b = 'C' has no runs"),
    (GOOD, {"columns": {"sede": "seed"}}, "sede=seed: unknown role. Did you mean 'seed'?"),
    (
        GOOD,
        {"columns": {"seed": "sed"}},
        "seed=sed: there is no column 'sed'. Did you mean 'seed'?",
    ),
    (GOOD, {"where": {"seed": "77"}}, "where seed=77 selects no row: seed is 0, 1, 2, 3, 4"),
    (GOOD, {"target": 0.7}, "target = 0.7 needs the values of every step"),
    (
        GOOD.assign(phase=["tune", "final"] * 5),
        {},
        "column phase has several values .tune, final., but not confirm",
    ),
    (GOOD.iloc[:0], {}, "the source contains no runs"),
    (GOOD, {"delta": "0.1"}, "delta = '0.1' must be a number above 0"),
    (GOOD, {"missing": "drop"}, "missing = 'drop' must be 'refuse' or 'failed'"),
    (GOOD, {"metric": "seed"}, "metric = 'seed' is the seed of a run: choose another column"),
    (GOOD, {"pairing": "all"}, "pairing = 'all' must be 'auto', 'seed' or 'none'"),
    (GOOD["seed"], {}, "frame is a Series: give a pandas DataFrame"),
    (
        GOOD.assign(task=["x"] * 5 + ["y"] * 5),
        {},
        "arms 'A' and 'B' have no task in common",
    ),
    (GOOD.drop(columns="seed"), {"sequential": True}, "sequential needs pairs of runs"),
    (
        GOOD.drop(columns="seed").assign(epoch=1),
        {},
        "there is a row per step, but no column identifies the runs",
    ),
]


@pytest.mark.parametrize(("frame", "options", "said"), REFUSED)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    frame: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as refused:
        indian_tune.compare(frame, "A", **{"b": "B", **options})
    assert "\n" not in str(refused.value)


def test_what_pairing_would_gain_counts_its_fewer_degrees_of_freedom() -> None:
    spread = [1.0, 2.0, 3.0]
    found = indian_tune.compare(frame_of(A=spread, B=spread).drop(columns="seed"), "A", "B")
    unpaired, paired = (
        stats.t.ppf(0.975, freedom) * np.sqrt(variance / 3)
        for freedom, variance in ((4, 2), (2, 1))
    )
    said = f"reach {paired:.1f} to each side instead of {unpaired:.1f}"
    assert said in found.markdown()


def test_the_only_column_of_numbers_is_the_metric_whatever_its_name() -> None:
    frame = frame_of("figure", A=[0.1, 0.2], B=[0.3, 0.5])
    assert indian_tune.compare(frame, "A", "B", better="lower").metric == "figure"


def test_a_target_that_few_runs_reach_has_no_median_of_steps() -> None:
    frame = pd.concat([frame_of(A=[0.1, 0.2], B=[0.3, 0.5]).assign(step=step) for step in (1, 2)])
    said = indian_tune.compare(frame, "A", "B", target=0.9).markdown()
    assert "A reaches it in 0 of 2 runs, fewer than half of them" in said
    assert "∞" not in said
