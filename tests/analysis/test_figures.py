"""Figures: what is drawn is what the frame and the verdict say, read back from the axes."""

from __future__ import annotations

import importlib
import sys
import warnings
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from indian_tune.analysis import Registration, Scope, analyze, figures
from indian_tune.analysis.figures import Material, exhibits
from indian_tune.analysis.figures.exhibits import makers
from indian_tune.analysis.power import power
from indian_tune.analysis.report import Background, inline_svg, write_report
from indian_tune.analysis.simulation import simulated_claims
from indian_tune.analysis.style import INDIAN, arm_styles
from indian_tune.analysis.verdict import Gate
from indian_tune.columns import prefixed
from indian_tune.errors import NoDataError
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.file.space import Grid, Range
from indian_tune.study.hypotheses import (
    Cell,
    Factorial,
    MatchedLoss,
    Replication,
    Surface,
    TuningGain,
)
from tests.searches import Setting, searched_frame, searches

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

    from indian_tune.analysis import Verdict
    from indian_tune.study.file.space import Parameter

SEEDS = (1000, 1001, 1002, 1003)
EPOCHS = 8
LEVELS = {"indian": 0.03, "indian-rate": 0.02, "sgd": 0.0, "sgd-matched": 0.005, "qhm": 0.01}
GRID = (0.1, 0.5, 2.0)
CLAIMS = ClaimsSection(
    h1=Replication(arms=["indian"], baselines=["sgd"]),
    h2=MatchedLoss(arm="indian", baseline="sgd", matched_rate="sgd-matched", momentum=["qhm"]),
    h3a=Surface(arm="surface"),
    h3b=TuningGain(rate="indian-rate", full="indian"),
)


def run(arm: str, seed: int, level: float, **more: Any) -> list[dict[str, Any]]:
    """Return the rows of one run: a falling loss, a rising accuracy."""
    noise = np.random.default_rng([seed, len(arm)]).normal(0, 0.003)
    loss = 1.2 * np.exp(-0.4 * np.arange(EPOCHS))
    return [
        {
            "study": "s",
            "arm": arm,
            "optimizer": "indian" if arm.startswith(("indian", "surface")) else "sgd",
            "phase": "confirm",
            "trial": 0,
            "trial_state": "complete",
            "run_state": "complete",
            "seed": seed,
            "epoch": epoch + 1,
            "step": 10 * epoch,
            "train_loss": loss[epoch],
            "train_accuracy": 1 - 0.3 * loss[epoch],
            "validation_loss": loss[epoch],
            "validation_accuracy": 0.9 - 0.3 * loss[epoch] + level + noise,
            "seconds": 1.0,
            "test_accuracy": 0.9 - 0.3 * loss[epoch] + level + noise,
            **more,
        }
        for epoch in range(EPOCHS)
    ]


def search(arm: str, trial: int, level: float, **config: float) -> list[dict[str, Any]]:
    return run(arm, 0, level, phase="tune", trial=trial, **prefixed(config))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rows = [row for arm, seed in product(LEVELS, SEEDS) for row in run(arm, seed, LEVELS[arm])]
    for trial, gamma0 in enumerate((0.01, 0.1, 1.0)):
        rows += search("indian", trial, 0.01 * trial, gamma0=gamma0, alpha=0.5 + trial, beta=0.1)
        rows += search("sgd", trial, -0.01 * (trial - 1) ** 2, gamma0=gamma0)
    lost = search("sgd", 3, 0.0, gamma0=3.0)[:2]
    gone = {"run_state": "diverged", "trial_state": "diverged", "train_loss": np.nan}
    rows += [lost[0], {**lost[1], **gone}]
    for trial, (alpha, beta, eta) in enumerate(product(GRID, GRID, (0.1, 0.2))):
        level = 0.01 * np.log(alpha) - 0.02 * np.log(beta) + eta / 10
        for seed in (0, 1):
            rows += [
                {**row, "seed": seed, **prefixed({"alpha": alpha, "beta": beta, "eta": eta})}
                for row in search("surface", trial, level)
            ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def verdict(frame: pd.DataFrame) -> Verdict:
    trials = {"indian": 3, "sgd": 4, "surface": 18}
    registration = Registration("honest", SEEDS, trials)
    return analyze(frame, CLAIMS, registration=registration, scope=Scope(classes=10))


def confirm(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    return frame[(frame["phase"] == "confirm") & (frame["arm"] == arm)]


def panels(figure: Figure) -> list[Any]:
    """Return the axes of a figure; what the artists on them offer depends on their kind."""
    return list(figure.axes)


def lines(axes: Any) -> dict[str, np.ndarray]:
    """Return the labelled lines of axes: label → points [n, 2]."""
    return {
        str(line.get_label()): np.asarray(line.get_xydata())
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }


@pytest.mark.parametrize("band", ["range", "interval"])
def test_learning_curves_are_means_over_seeds_with_their_band(
    frame: pd.DataFrame, band: figures.Band
) -> None:
    figure = figures.learning_curves(frame, band=band)
    for axes, metric, scale in zip(
        panels(figure), ("train_loss", "test_accuracy"), (1, 100), strict=True
    ):
        drawn = lines(axes)
        assert list(drawn) == list(LEVELS)
        for place, arm in enumerate(LEVELS):
            wide = confirm(frame, arm).pivot(index="epoch", columns="seed", values=metric)
            np.testing.assert_allclose(drawn[arm][:, 0], np.arange(1, EPOCHS + 1))
            np.testing.assert_allclose(drawn[arm][:, 1], scale * wide.mean(axis=1))
            edge = axes.collections[place].get_paths()[0].vertices[:, 1]
            if band == "range":
                low, high = wide.to_numpy().min(), wide.to_numpy().max()
            else:
                # 3.182446 is the 97.5 % point of t with 3 degrees of freedom.
                half = 3.182446 * wide.std(axis=1) / 2
                low = (wide.mean(axis=1) - half).min()
                high = (wide.mean(axis=1) + half).max()
            assert [edge.min(), edge.max()] == pytest.approx([scale * low, scale * high])


def test_learning_curves_of_one_epoch_are_points(frame: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.learning_curves(frame[frame["epoch"] == 1])
    for axes in panels(figure):
        assert [line.get_marker() for line in axes.lines] == ["o"] * len(LEVELS)
    low, high = panels(figure)[1].get_xlim()
    assert low < 1 < high


def test_published_end_points_are_overlaid_on_the_arms_they_belong_to(frame: pd.DataFrame) -> None:
    published = pd.DataFrame(
        {
            "arm": ["sgd", "unknown"],
            "metric": ["test_accuracy", "test_accuracy"],
            "mean": [0.5, 0.1],
            "min": [0.4, 0.1],
            "max": [0.7, 0.1],
        }
    )
    _, bottom = panels(figures.learning_curves(frame, published=published))
    (marks,) = bottom.containers
    assert marks.lines[0].get_ydata() == pytest.approx([50])
    (segment,) = marks.lines[2][0].get_segments()
    assert segment[:, 1] == pytest.approx([40, 70])


def test_trajectories_go_through_mean_training_and_test_error(frame: pd.DataFrame) -> None:
    (axes,) = panels(figures.trajectories(frame, ["indian", "sgd"]))
    confirm = frame[(frame["phase"] == "confirm") & (frame["arm"] == "indian")]
    means = confirm.groupby("epoch")[["train_accuracy", "test_accuracy"]].mean()
    line = next(each for each in axes.get_lines() if each.get_label() == "indian")
    assert line.get_xdata() == pytest.approx(100 * (1 - means["train_accuracy"].to_numpy()))
    assert line.get_ydata() == pytest.approx(100 * (1 - means["test_accuracy"].to_numpy()))


def test_the_forest_shows_every_quantity_of_every_contrast_of_the_claim(verdict: Verdict) -> None:
    table = figures.forest_table(verdict)
    made = [each for found in verdict.findings for each in found.contrasts]
    assert table["quantity"].tolist() == ["Δ", "D", "G"] * len(made)
    assert table["estimate"].tolist()[::3] == [each.test.estimate for each in made]
    (axes,) = panels(figures.forest(verdict))
    dots = [
        float(np.asarray(line.get_xdata())[0])
        for line in axes.get_lines()
        if line.get_marker() == "o"
    ]
    assert dots == pytest.approx(100 * table["estimate"].to_numpy())


def test_the_forest_says_where_a_gate_withholds_a_label(verdict: Verdict) -> None:
    (found, made), *_ = ((f, c) for f in verdict.findings for c in f.contrasts)

    def label(*gates: Gate) -> str:
        judged = replace(verdict, findings=(replace(found, gates=gates, contrasts=(made,)),))
        return str(figures.forest_table(judged)["label"].iloc[0])

    fails = Gate("range", made.name, False, (made.label,), "", "")
    assert label() == label(replace(fails, passed=True)) == str(made.label)
    assert label(replace(fails, contrast="another")) == str(made.label)
    assert label(fails) == f"{made.label} by its bounds, withheld by a gate"


def test_pairs_are_joined_seed_by_seed_and_counted(frame: pd.DataFrame) -> None:
    figure = figures.paired_seeds(frame, [("indian", "sgd"), ("indian", "absent")])
    (axes,) = panels(figure)
    joins = [line for line in axes.lines if len(line.get_xdata()) == 2]
    last = frame[frame["epoch"] == EPOCHS]
    for line, seed in zip(joins, SEEDS, strict=True):
        accuracies = [
            100 * confirm(last, arm).set_index("seed")["test_accuracy"][seed]
            for arm in ("sgd", "indian")
        ]
        assert line.get_ydata() == pytest.approx(accuracies)
    assert axes.get_title(loc="left") == "right is better: 4 of 4"
    with pytest.raises(NoDataError, match="none of the pairs"):
        figures.paired_seeds(frame, [("indian", "absent")])


@pytest.mark.parametrize(
    ("arms", "phases", "missing"),
    [
        (["indian"], ["confirm"], {"paired-seeds"}),
        (["indian", "sgd"], ["confirm"], {"paired-seeds", "learning-curves"}),
        (["indian", "sgd"], ["tune"], {"best-so-far", "step-size"}),
    ],
)
@pytest.mark.parametrize("searches", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_figure_of_which_every_run_failed_is_left_out(
    frame: pd.DataFrame, arms: list[str], phases: list[str], missing: set[str], searches: int
) -> None:
    frame = frame[frame["arm"].isin(["indian", "sgd"])]
    frame = pd.concat([frame.assign(replicate=each) for each in range(searches)])
    frame.loc[frame["arm"].isin(arms) & frame["phase"].isin(phases), "run_state"] = "diverged"
    claims = ClaimsSection(h1=Replication(arms=["indian"], baselines=["sgd"]))
    drawn = {each.name: each for each in exhibits(Material(frame, claims))}
    usual = {"paired-seeds", "learning-curves", "best-so-far", "step-size"}
    assert usual - drawn.keys() == missing
    for each in drawn.values():
        assert "nan" not in each.alt
        inline_svg(each)


def test_a_map_of_which_every_point_diverged_is_left_out(frame: pd.DataFrame) -> None:
    with pytest.raises(NoDataError, match="every point of the grid of arm 'surface' diverged"):
        figures.surface_table(frame.assign(run_state="diverged"), "surface")


def test_scores_of_zero_and_equal_searches_have_an_axis(frame: pd.DataFrame) -> None:
    frame = frame[frame["arm"].isin(["indian", "sgd"])].assign(
        validation_accuracy=1.0, run_state="complete", trial_state="complete"
    )
    frame = pd.concat([frame.assign(replicate=each) for each in range(2)])
    frame["test_accuracy"] = 1.0
    for figure in (figures.best_so_far(frame), figures.step_sizes(frame)):
        assert {axes.get_yscale() for axes in panels(figure)} == {"linear"}
    (axes,) = panels(figures.budget_curve(frame))
    assert axes.get_ylim()[0] < 100 < axes.get_ylim()[1]


def test_step_sizes_show_every_score_ring_the_best_and_flag_an_end(frame: pd.DataFrame) -> None:
    ranges = {"indian": Range(0.001, 1.0, log=True), "sgd": Range(0.001, 10.0, log=True)}
    figure = figures.step_sizes(frame, ranges)
    indian, sgd = panels(figure)
    assert indian.get_title(loc="left") == "indian: best at an end"
    assert sgd.get_title(loc="left") == "sgd"
    scores, crosses, ring = (np.asarray(line.get_xydata()) for line in sgd.lines[:3])
    tuned = frame[(frame["phase"] == "tune") & (frame["arm"] == "sgd") & (frame["epoch"] == EPOCHS)]
    errors = 100 * (1 - tuned["validation_accuracy"])
    np.testing.assert_allclose(scores[:3], np.stack([tuned["config.gamma0"], errors], axis=1))
    assert np.isnan(scores[3, 1])
    assert crosses[:, 0].tolist() == [3.0]
    np.testing.assert_allclose(ring, [[0.1, errors.min()]])
    # Pruned trials are at the top, too: their scores are of shorter runs.
    early = (frame["arm"] == "sgd") & (frame["config.gamma0"] == 0.01)
    pruned = frame.assign(trial_state=frame["trial_state"].mask(early, "pruned"))
    scores, crosses = (
        np.asarray(line.get_xydata()) for line in panels(figures.step_sizes(pruned))[1].lines[:2]
    )
    assert np.isnan(scores[[0, 3], 1]).all()
    assert crosses.tolist() == [[0.01, 0.97], [3.0, 0.97]]


def test_best_so_far_never_rises_and_counts_what_diverged(frame: pd.DataFrame) -> None:
    (axes,) = panels(figures.best_so_far(frame[frame["arm"] != "surface"]))
    drawn = lines(axes)
    table = figures.best_so_far_table(frame)
    sgd = table[table["arm"] == "sgd"]
    assert sgd["epochs"].tolist() == [8, 16, 24, 26]
    assert sgd["best"].tolist() == sgd["score"].cummin().ffill().tolist()
    np.testing.assert_allclose(drawn["sgd"], np.stack([sgd["epochs"], 100 * sgd["best"]], axis=1))
    assert (np.diff(drawn["indian"][:, 1]) <= 0).all()


def test_best_so_far_is_the_mean_of_several_searches(frame: pd.DataFrame) -> None:
    one = frame[frame["arm"] == "sgd"].assign(replicate=0)
    # Its trials in the other order: it finds its best later, and diverges first.
    other = one.assign(replicate=1, trial=3 - one["trial"])
    both = pd.concat([one, other], ignore_index=True)
    (axes,) = panels(figures.best_so_far(both))
    table = figures.best_so_far_table(both)
    first, second = (table[table["replicate"] == n] for n in (0, 1))
    assert second["epochs"].tolist() == [2, 10, 18, 26]
    epochs = np.array([10, 16, 18, 24, 26])
    expected = [
        [rows["best"].to_numpy()[rows["epochs"].to_numpy() <= epoch][-1] for epoch in epochs]
        for rows in (first, second)
    ]
    (drawn,) = lines(axes).values()
    np.testing.assert_allclose(drawn, np.stack([epochs, 100 * np.mean(expected, axis=0)], axis=1))


def test_an_end_is_what_it_is_for_the_ranking(frame: pd.DataFrame) -> None:
    def at_an_end(arm: str, parameter: Parameter) -> bool:
        table = figures.step_size_table(frame, {arm: parameter})
        return bool(table.loc[table["arm"] == arm, "edge"].all())

    # The best trial of indian has γ0 = 1, that of sgd 0.1.
    assert at_an_end("indian", Range(0.001, 1.0, log=True))
    assert not at_an_end("indian", Range(0.001, 10.0, log=True))
    # Between two points of a grid nothing was tried, and below 0 there is no step size.
    assert at_an_end("indian", Grid((0.01, 1.0)))
    assert not at_an_end("indian", Grid((0.01, 1.0, 1.01)))
    assert not at_an_end("sgd", Range(0.1, 1.0))


def test_figures_use_the_score_that_winners_are_chosen_by(frame: pd.DataFrame) -> None:
    assert best_trials(frame) == {"indian": [2], "sgd": [1]}
    scored = frame.assign(objective="validation_loss", score=1.0 + frame["trial"])
    assert best_trials(scored) == {"indian": [0], "sgd": [0]}
    assert figures.step_sizes(scored).get_supylabel() == "validation loss"
    (axes,) = panels(figures.best_so_far(scored[scored["arm"] != "surface"]))
    assert axes.get_ylabel() == "best validation loss so far"
    assert lines(axes)["sgd"][:, 1].tolist() == [1.0] * 4
    table = figures.best_so_far_table(scored)
    # The last trial of sgd diverged: its score is that of chance, which wins nothing.
    assert table.loc[table["arm"] == "sgd", "score"].tolist() == [
        1,
        2,
        3,
        pytest.approx(np.nan, nan_ok=True),
    ]


def best_trials(frame: pd.DataFrame) -> dict[str, list[int]]:
    table = figures.step_size_table(frame)
    best = table[table["best"]]
    return {str(arm): part.tolist() for arm, part in best.groupby("arm")["trial"]}


def test_the_step_size_of_a_cell_is_tuned_by_the_score(frame: pd.DataFrame) -> None:
    scored = frame.assign(objective="validation_loss", score=-frame["config.eta"])
    for part, best in ((scored, 0.2), (scored.assign(score=frame["config.eta"]), 0.1)):
        table = figures.surface_table(part, "surface").set_index(["config.alpha", "config.beta"])
        tuned = table[table["setting"] == "tuned γ0"]["accuracy"]
        fixed = table[table["setting"] == f"η = {best}"]["accuracy"]
        pd.testing.assert_series_equal(tuned, fixed)


def test_maps_hold_the_means_of_every_cell(frame: pd.DataFrame) -> None:
    table = figures.surface_table(frame, "surface")
    assert list(dict.fromkeys(table["setting"])) == ["η = 0.1", "η = 0.2", "tuned γ0"]
    cells = frame[(frame["arm"] == "surface") & (frame["epoch"] == EPOCHS)]
    means = cells.groupby(["config.eta", "config.alpha", "config.beta"])["test_accuracy"].mean()
    fixed = table[table["setting"] != "tuned γ0"]
    np.testing.assert_allclose(fixed["accuracy"], means)
    figure = figures.surface_maps(frame, "surface")
    maps = [axes for axes in panels(figure) if axes.get_label() != "<colorbar>"]
    assert len(maps) == 3 * 3
    mesh = maps[3].collections[0]
    shown = fixed[fixed["setting"] == "η = 0.1"].pivot(
        index="config.beta", columns="config.alpha", values="accuracy"
    )
    np.testing.assert_allclose(np.asarray(mesh.get_array()), 100 * shown.to_numpy())
    curve = maps[3].lines[0].get_xydata()
    np.testing.assert_allclose(curve[:, 0] * curve[:, 1], 1.0)


def test_a_cell_that_diverged_is_hatched_and_has_no_colour(frame: pd.DataFrame) -> None:
    cell = (frame["arm"] == "surface") & (frame["trial"] == 4) & (frame["seed"] == 1)
    broken = frame.copy()
    broken.loc[cell, "run_state"] = "diverged"
    broken.loc[cell, "train_loss"] = np.nan
    table = figures.surface_table(broken, "surface")
    lost = table[table["diverged"]]
    place = lost[["config.alpha", "config.beta", "setting"]].to_numpy().tolist()
    assert place == [[0.1, 2.0, "η = 0.1"]]
    assert lost["accuracy"].isna().all()
    figure = figures.surface_maps(broken, "surface")
    hatched = [part for part in panels(figure)[0].collections if part.get_hatch()]
    assert len(hatched) == 1
    assert np.asarray(panels(figure)[0].collections[0].get_array()).astype(float)[2, 0] != 0
    assert np.ma.getmaskarray(panels(figure)[0].collections[0].get_array())[2, 0]


def test_interactions_show_the_mean_of_every_cell() -> None:
    cells, rows = [], []
    for n, (tuned, dropout, decay) in enumerate(product((False, True), repeat=3)):
        cells.append(Cell(arm=f"indian-{n}", tuned=tuned, dropout=dropout, weight_decay=decay))
        for seed in SEEDS:
            rows += run(f"indian-{n}", seed, 0.01 * n)
    design = Factorial(cells=cells)
    frame = pd.DataFrame(rows)
    table = figures.factorial_table(frame, design)
    (axes,) = panels(figures.interactions(frame, design))
    drawn = [container.lines[0].get_ydata() for container in axes.containers]
    for values, (dropout, decay) in zip(drawn, product((False, True), repeat=2), strict=True):
        arms = [
            design.arm(tuned=tuned, dropout=dropout, weight_decay=decay) for tuned in (False, True)
        ]
        ends = frame[frame["epoch"] == EPOCHS].groupby("arm")["test_accuracy"].mean()
        np.testing.assert_allclose(values, 100 * ends[arms])
    assert table["runs"].tolist() == [len(SEEDS)] * 8
    with pytest.raises(NoDataError, match="'indian-3', a cell of the design"):
        figures.interactions(frame[frame["arm"] != "indian-3"], design)


def test_the_power_curve_agrees_with_the_power_of_the_study(
    frame: pd.DataFrame, verdict: Verdict
) -> None:
    with pytest.raises(NoDataError, match="no contrast of the verdict has a deviation between"):
        figures.power_curve(verdict)
    fresh = frame[frame["phase"] == "confirm"]
    fresh = fresh.assign(replicate=fresh["seed"] - SEEDS[0])
    verdict = analyze(fresh, CLAIMS, registration=Registration("honest", SEEDS))
    (axes,) = panels(figures.power_curve(verdict))
    drawn = lines(axes)
    for name, points in drawn.items():
        found = verdict.finding(name)
        widest = max(found.contrasts, key=lambda made: made.deviation)
        own = power(widest.differences, verdict.delta, verdict.alpha).achieved
        here = points[points[:, 0] == len(SEEDS), 1]
        assert here == pytest.approx([own])
        assert (np.diff(points[:, 1]) >= -1e-9).all()


def test_importances_are_those_of_the_verdict(verdict: Verdict) -> None:
    table = figures.importance_table(verdict)
    expected = {
        (each.arm, each.method, name): share
        for each in verdict.importances
        if len(each.shares) > 1
        for name, share in each.shares
    }
    assert {
        (row["arm"], row["method"], row["hyperparameter"]): row["share"]
        for row in table.to_dict("records")
    } == expected
    figure = figures.importances(verdict)
    assert "of the validation error" in panels(figure)[-1].get_xlabel()
    widths = sorted(bar.get_width() for axes in panels(figure) for bar in axes.patches)
    np.testing.assert_allclose(widths, sorted(expected.values()))


def test_indian_has_one_hue_and_no_rival_comes_near_it() -> None:
    indians = {f"indian-{n}": "indian" for n in range(5)}
    rivals = {f"rival-{n}": "sgd" for n in range(12)}
    styles = arm_styles({**rivals, **indians})
    hue = mcolors.rgb_to_hsv(mcolors.to_rgb(INDIAN))[0]
    for arm, style in styles.items():
        own = mcolors.rgb_to_hsv(mcolors.to_rgb(style.color))
        if arm in indians:
            assert own[0] == pytest.approx(hue, abs=0.02)
        else:
            assert own[1] < 0.1 or abs(own[0] - hue) > 0.1
    looks = {(str(style.color), str(style.dashes)) for style in styles.values()}
    assert len(looks) == len(styles)


def test_every_exhibit_says_what_to_see_and_gives_its_numbers(
    frame: pd.DataFrame, verdict: Verdict
) -> None:
    shown = {each.name: each for each in figures.exhibits(figures.Material(frame, CLAIMS, verdict))}
    assert list(shown) == [
        *("contrasts", "test-against-training-error", "learning-curves"),
        *("learning-curves-intervals", "paired-seeds", "surface", "step-size", "best-so-far"),
        "importance",
    ]
    for each in shown.values():
        assert len(each.caption) > 60
        assert len(repr(each)) < 200
        assert len(each.alt) > 40
        assert not each.table.empty
        fits(each.figure)


def test_no_figure_is_drawn_of_what_is_not_there(frame: pd.DataFrame) -> None:
    only_search = frame[frame["phase"] == "tune"].drop(columns="test_accuracy")
    shown = [each.name for each in figures.exhibits(figures.Material(only_search, CLAIMS))]
    assert shown == ["surface", "step-size", "best-so-far"]
    only_fresh = frame[(frame["phase"] == "confirm") & (frame["seed"] == SEEDS[0])]
    shown = [each.name for each in figures.exhibits(figures.Material(only_fresh, ClaimsSection()))]
    assert shown == ["test-against-training-error", "learning-curves"]
    with pytest.raises(NoDataError, match="no rows of the tune phase"):
        figures.best_so_far(only_fresh)
    with pytest.raises(NoDataError, match="no trials over alpha and beta"):
        figures.surface_maps(frame, "qhm")


def fits(figure: Figure) -> None:
    """Check that nothing is drawn beyond the canvas."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 > -0.05
    assert box.y0 > -0.05
    assert box.x1 < width + 0.05
    assert box.y1 < height + 0.05


def test_a_figure_is_one_module(
    frame: pd.DataFrame, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "counts.py").write_text(
        """
from matplotlib.figure import Figure

from indian_tune.analysis.figures import Exhibit


def count_runs(material):
    table = material.frame.groupby("arm", as_index=False)["seed"].nunique()
    figure = Figure()
    figure.subplots().bar(table["arm"], table["seed"])
    return Exhibit("counts", "Runs", "How many.", "Bars of counts.", figure, table)


EXHIBITS = {35: count_runs}
""",
        encoding="utf-8",
    )
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "indian_tune.analysis.figures.counts", raising=False)
    material = figures.Material(frame, CLAIMS, verdict)
    shown = list(figures.exhibits(material))
    names = [each.name for each in shown]
    assert names.index("counts") == names.index("learning-curves") - 1
    write_report(tmp_path / "report", verdict, shown, Background())
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "How many." in page
    assert "Bars of counts." in page
    assert (tmp_path / "report/figures/counts.csv").read_text().startswith("arm,seed\n")


def test_two_figures_in_one_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forest = importlib.import_module("indian_tune.analysis.figures.forest")
    monkeypatch.setattr(forest, "EXHIBITS", {20: lambda _: None})
    with pytest.raises(ValueError, match="place 20 is used twice, the second time in trajectories"):
        makers()


def test_figures_leave_out_runs_that_did_not_train_and_compare_searches() -> None:
    setting = Setting(replicates=3, trials=2, seeds=2)
    frame = searched_frame(searches(setting, np.random.default_rng(0)), epochs=3)
    lost = (frame["arm"] == "sgd") & (frame["phase"] == "confirm") & (frame["seed"] == 1101)
    frame.loc[lost, ["train_accuracy", "test_accuracy"]] = 0.1
    seeds = tuple(sorted(set(frame.loc[frame["phase"] == "confirm", "seed"].tolist())))
    claims = simulated_claims()
    verdict = analyze(
        frame, claims, registration=Registration("honest", seeds), scope=Scope(classes=10)
    )
    shown = {
        each.name: each.table for each in figures.exhibits(figures.Material(frame, claims, verdict))
    }
    last = frame[(frame["phase"] == "confirm") & (frame["epoch"] == 3)]
    sound = last[(last["arm"] == "sgd") & (last["seed"] != 1101)]
    table = shown["test-against-training-error"]
    end = table[table["arm"] == "sgd"].iloc[-1]
    assert (end["runs"], end["test_error"]) == (5, pytest.approx(1 - sound["test_accuracy"].mean()))
    table = shown["learning-curves-intervals"]
    row = table[(table["arm"] == "sgd") & (table["metric"] == "test_accuracy")].iloc[-1]
    by_search = sound.groupby("replicate")["test_accuracy"].mean()
    assert row["diverged"] == 1
    assert row["high"] - row["mean"] == pytest.approx(stats.t.ppf(0.975, 2) * by_search.sem())
    pairs = shown["paired-seeds"]
    mine = pairs[(pairs["arm"] == "full") & (pairs["baseline"] == "sgd")].set_index("replicate")
    ours = last[(last["arm"] == "full") & last["seed"].isin(sound["seed"])]
    assert mine["arm_accuracy"].to_dict() == pytest.approx(
        ours.groupby("replicate")["test_accuracy"].mean().to_dict()
    )
