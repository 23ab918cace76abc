"""Budget curves: for any sampler, trial by trial, against a plain loop."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from indian_tune.analysis import Registration, analyze
from indian_tune.analysis.budget import budget_curves
from indian_tune.analysis.figures import Material, exhibits
from indian_tune.analysis.simulation import simulated_claims
from indian_tune.analysis.verdict_text import verdict_lines
from tests.searches import Setting, searched_frame, searches

if TYPE_CHECKING:
    import pandas as pd

TRIALS, REPLICATES, LAST = 8, 5, 3


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """A study of five searches; some of its trials diverged, one search of sgd lost its first."""
    setting = Setting(replicates=REPLICATES, trials=TRIALS, seeds=2)
    frame = searched_frame(searches(setting, np.random.default_rng(4)), epochs=LAST)
    lost = (frame["phase"] == "tune") & ((frame["trial"] + frame["replicate"]) % 7 == 2)
    lost |= (frame["phase"] == "tune") & (frame["arm"] == "sgd") & (frame["trial"] == 0)
    frame.loc[lost, ["run_state", "trial_state"]] = "diverged"
    frame.loc[lost, ["train_loss", "test_accuracy", "validation_accuracy", "score"]] = np.nan
    return frame


def best_of_first(frame: pd.DataFrame, arm: str, replicate: int, b: int, column: str) -> float:
    ends = frame[(frame["phase"] == "tune") & (frame["epoch"] == LAST)]
    own = ends[(ends["arm"] == arm) & (ends["replicate"] == replicate) & (ends["trial"] < b)]
    return float(own.sort_values(["score", "trial"]).iloc[0][column])


@pytest.mark.parametrize("column", ["test_accuracy", "validation_accuracy"])
def test_the_curve_is_of_the_trial_that_is_best_among_the_first_of_its_own_search(
    frame: pd.DataFrame, column: str
) -> None:
    search = frame[frame["phase"] == "tune"].copy()
    search["test_accuracy"] += 0.01 * np.sin(10 * search["trial"])
    if column != "test_accuracy":
        # The test results of one trial are not known: the curve is of validation, for all.
        search.loc[search["trial"] == TRIALS - 1, "test_accuracy"] = np.nan
    curves = {curve.arm: curve for curve in budget_curves(search)}
    assert set(curves) == {"full", "rate", "sgd", "full-usual", "sgd-usual"}
    assert {curve.metric for curve in curves.values()} == {column}
    assert curves["sgd"].trials[0] > 1
    for (arm, curve), b in product(curves.items(), range(1, TRIALS + 1)):
        if b not in curve.trials:
            continue
        values = [best_of_first(search, arm, r, b, column) for r in range(REPLICATES)]
        place = curve.trials.index(b)
        assert curve.mean[place] == pytest.approx(np.mean(values))
        reach = stats.t.ppf(0.975, REPLICATES - 1) * stats.sem(values)
        assert curve.high[place] - curve.mean[place] == pytest.approx(reach)
        assert curve.mean[place] - curve.low[place] == pytest.approx(reach)


def test_one_search_has_no_curve_and_a_lost_search_no_value(frame: pd.DataFrame) -> None:
    search = frame[frame["phase"] == "tune"].copy()
    assert budget_curves(search[search["replicate"] == 0]) == ()
    assert budget_curves(search.iloc[:0]) == ()
    gone = (search["arm"] == "rate") & (search["replicate"] == 1)
    search.loc[gone, ["trial_state", "run_state"]] = "diverged"
    search.loc[gone, "score"] = np.nan
    found = {curve.arm: curve.searches for curve in budget_curves(search)}
    assert found["rate"] == REPLICATES - 1
    assert found["full"] == REPLICATES


def test_terminal_json_and_report_show_the_curve(frame: pd.DataFrame) -> None:
    seeds = tuple(sorted(frame.loc[frame["phase"] == "confirm", "seed"].unique().tolist()))
    claims = simulated_claims()
    verdict = analyze(frame, claims, registration=Registration("honest", seeds))
    (curve,) = (one for one in verdict.budget_curves if one.arm == "full")
    assert verdict.as_dict()["budget_curves"][0]["mean"] == curve.mean
    lines = list(verdict_lines(verdict))
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "Best trial on validation, test accuracy by budget" in text
    ends = " to ".join(f"{100 * end:.2f} %" for end in (curve.low[-1], curve.high[-1]))
    assert f"{100 * curve.mean[-1]:.2f} % with {TRIALS} trials (95 % interval {ends}; " in text
    shown = {each.name: each for each in exhibits(Material(frame, claims, verdict))}
    drawn = shown["budget-curve"]
    assert f"full reaches {100 * curve.mean[-1]:.2f} % with {TRIALS} trials" in drawn.alt
    assert drawn.caption.startswith("Test accuracy of the trial that is best on validation")
    own = drawn.table[drawn.table["arm"] == "full"]
    assert tuple(own["mean"]) == pytest.approx(curve.mean)
    (line,) = (line for line in drawn.figure.axes[0].lines if line.get_label() == "full")
    assert np.asarray(line.get_ydata()) == pytest.approx(100 * np.array(curve.mean))
    sealed = frame.assign(test_accuracy=frame["test_accuracy"].mask(frame["phase"] == "tune"))
    shown = {each.name: each for each in exhibits(Material(sealed, claims, verdict))}
    assert shown["budget-curve"].caption.startswith("Validation accuracy of the trial")
    assert "look better than they are" in shown["budget-curve"].caption
