from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import indian_tune
from indian_tune.reproduce.figure2 import (
    draw_figure2,
    end_points,
    published_end_points,
    write_figure2,
)
from indian_tune.study.file.spec import load_study

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def frame() -> pd.DataFrame:
    """Two arms, three seeds, four epochs; the last run of SGD diverges."""
    rows = []
    for arm, base in (("indian-0.5-0.1", 1.0), ("sgd", 2.0)):
        for seed in (1000, 1001, 1002):
            gone = arm == "sgd" and seed == 1002
            rows += [
                {
                    "study": "paper-figure2",
                    "arm": arm,
                    "optimizer": "sgd" if arm == "sgd" else "indian",
                    "phase": "confirm",
                    "trial": seed - 1000,
                    "trial_state": "diverged" if gone else "complete",
                    "run_state": "diverged" if gone else "complete",
                    "seed": seed,
                    "epoch": epoch,
                    "train_loss": np.nan if gone else base / epoch + (seed - 1001) / 10,
                    "train_accuracy": 0.5,
                    "test_loss": 1.0,
                    "test_accuracy": np.nan if gone else 0.1 * epoch + (seed - 1001) / 100,
                }
                for epoch in range(1, 5)
            ]
    return pd.DataFrame(rows)


def test_the_published_end_points_name_the_arms_of_the_study(pytestconfig: pytest.Config) -> None:
    published = published_end_points()
    study = load_study(pytestconfig.rootpath / "studies" / "paper-figure2.toml")
    # The extended version also has (.5, 1), which the study leaves out.
    assert {arm.name for arm in study.arms} == set(published["arm"]) - {"indian-0.5-1"}
    adam = published[(published["arm"] == "adam") & (published["metric"] == "test_accuracy")]
    assert adam[["mean", "min", "max"]].to_numpy().tolist() == [[0.4855, 0.478, 0.486]]
    assert (published["min"] <= published["mean"]).all()
    assert (published["mean"] <= published["max"]).all()


def test_end_points_are_means_and_ranges_of_the_runs_that_did_not_diverge(
    frame: pd.DataFrame,
) -> None:
    found = {(row["arm"], row["metric"]): row for row in end_points(frame).to_dict("records")}
    loss = found["indian-0.5-0.1", "train_loss"]
    assert [loss[name] for name in ("mean", "min", "max")] == pytest.approx([0.25, 0.15, 0.35])
    accuracy = found["sgd", "test_accuracy"]
    assert [accuracy[name] for name in ("mean", "min", "max")] == pytest.approx([0.395, 0.39, 0.4])
    assert (accuracy["runs"], accuracy["diverged"]) == (2, 1)


@pytest.mark.parametrize("comparable", [True, False])
def test_published_end_points_are_drawn_only_where_they_belong(
    frame: pd.DataFrame, comparable: bool
) -> None:
    top, bottom = draw_figure2(frame, comparable=comparable).axes
    # Per panel: one bar for each of the two arms that are drawn.
    assert [len(axes.containers) for axes in (top, bottom)] == [2 * comparable] * 2
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("training loss", "test accuracy, %")


def test_the_figure_and_its_numbers_are_written(frame: pd.DataFrame, tmp_path: Path) -> None:
    files = write_figure2(frame, tmp_path / "new", comparable=True)
    assert [file.name for file in files] == [
        *("figure2.svg", "figure2.png", "figure2.csv", "figure2-end-points.csv"),
        "figure2-runs.csv",
    ]
    assert all(file.stat().st_size for file in files)
    written = pd.read_csv(files[-2])
    pd.testing.assert_frame_equal(written, end_points(frame), check_dtype=False)
    arm, other = frame["arm"].unique()[:2]
    found = indian_tune.compare(pd.read_csv(files[-1]), arm, other, metric="test_accuracy")
    last = frame[frame["epoch"] == frame["epoch"].max()].set_index(["arm", "seed"])
    assert found.contrast.out_of == frame.groupby("arm")["seed"].nunique()[arm]
    for seed, value, _ in found.contrast.pairs:
        ended = last.loc[(arm, int(seed))]
        assert value == ended["test_accuracy"] or ended["run_state"] == "diverged"
