"""Flatness by arm and against generalisation, from frames alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from indian_tune.analysis import figures
from indian_tune.analysis.flatness import MEASURES, summarise_flatness
from indian_tune.analysis.frame import ACCURACIES, scored
from indian_tune.errors import NoDataError
from indian_tune.outcome import Outcome
from indian_tune.study.claims import ClaimsSection

SEEDS = (1000, 1001, 1002)
RATES = {"indian": 0.25, "adam": np.nan}


def flatness() -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for place, (arm, rate) in enumerate(RATES.items()):
        for seed in SEEDS:
            value = 10.0 * (place + 1) + seed % 10
            measures = {name: value / (k + 1) for k, name in enumerate(MEASURES)}
            rows.append(
                {"arm": arm, "trial": 0, "seed": seed, "effective_learning_rate": rate} | measures
            )
    return pd.DataFrame(rows)


def epochs() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **{"arm": arm, "optimizer": arm, "phase": "confirm", "trial": 0, "seed": seed},
                **{"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 0.9 + 0.02 * epoch},
                "test_accuracy": 0.8 + 0.02 * epoch + 0.01 * (seed % 10),
            }
            for arm in RATES
            for seed in SEEDS
            for epoch in (1, 2)
        ]
    )


def test_means_and_t_intervals_are_those_of_every_arm() -> None:
    frame = flatness()
    found = {(made.arm, made.measure): made for made in summarise_flatness(frame)}
    assert len(found) == 8
    values = frame.loc[frame["arm"] == "indian", "trace"]
    made = found["indian", "trace"]
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert (made.mean, made.low, made.high) == pytest.approx((values.mean(), low, high))
    assert (made.n, made.rate, found["adam", "trace"].rate) == (3, 0.25, None)


def test_a_value_that_did_not_converge_is_left_out_and_counted() -> None:
    frame = flatness()
    frame.loc[frame.index[:2], "top_eigenvalue"] = np.nan
    made = next(m for m in summarise_flatness(frame) if m.measure == "top_eigenvalue")
    assert (made.n, made.mean, np.isnan(made.low)) == (1, 12.0, True)


def test_error_and_gap_are_those_of_the_last_epoch() -> None:
    table = figures.flatness_table(epochs(), flatness()).set_index(["arm", "seed"])
    assert table.loc[("indian", 1001), "error"] == pytest.approx(1 - 0.85)
    assert table.loc[("indian", 1001), "gap"] == pytest.approx(0.94 - 0.85)


def test_a_metric_that_is_to_be_large_is_shown_as_it_is() -> None:
    f1 = Outcome("f1", "F1", "F1", greater_is_better=True, best=1.0)
    renamed = {name: f1.column(name) for name in ACCURACIES}
    frame = scored(epochs().rename(columns=renamed), f1)
    table = figures.flatness_table(frame, flatness()).set_index(["arm", "seed"])
    assert table.loc[("indian", 1001), "f1"] == pytest.approx(0.85)
    assert table.loc[("indian", 1001), "gap"] == pytest.approx(0.94 - 0.85)
    (upper, _, lower, _) = figures.sharpness(frame, flatness()).axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("test F1", "training - test F1")


def test_every_run_is_a_point_of_its_arm_and_the_legend_tells_the_rate() -> None:
    figure = figures.sharpness(epochs(), flatness())
    panels = figure.axes
    assert len(panels) == 4
    drawn = {
        str(line.get_label()): np.asarray(line.get_xydata(), dtype=float)
        for line in panels[0].get_lines()
    }
    assert list(drawn) == ["indian (η = 0.25)", "adam"]
    table = figures.flatness_table(epochs(), flatness())
    wanted = table.loc[table["arm"] == "adam", ["sharpness", "error"]].to_numpy() * [1, 100]
    np.testing.assert_allclose(drawn["adam"], wanted)


def test_the_report_shows_it_only_when_it_was_measured() -> None:
    without = [each.name for each in figures.exhibits(figures.Material(epochs(), ClaimsSection()))]
    assert "sharpness" not in without
    shown = list(figures.exhibits(figures.Material(epochs(), ClaimsSection(), flatness=flatness())))
    assert [each.name for each in shown] == [*without, "sharpness"]
    assert "Descriptive" in shown[-1].caption
    assert "indian 3.67" in shown[-1].alt


def test_runs_of_another_study_are_no_data() -> None:
    with pytest.raises(NoDataError, match="has its flatness measured"):
        figures.flatness_table(epochs(), flatness().assign(seed=7))
