"""How much the step size γ0 matters to every arm, and whether its best value is at an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import (
    is_rising,
    measured_scores,
    phase_rows,
    score_axis,
    styles_of,
)
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import INK, canvas, plain_log_ticks, tidy, title
from indian_tune.analysis.trials import trial_scores
from indian_tune.columns import config_column
from indian_tune.errors import NoDataError
from indian_tune.optim.hyperparameters import GAMMA0
from indian_tune.study.edges import find_edge
from indian_tune.study.file.space import Range, bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.study.file.space import Parameter

COLUMNS = 2
STEP_SIZE = config_column(GAMMA0.name)


def step_size_table(
    frame: pd.DataFrame, ranges: Mapping[str, Parameter] | None = None
) -> pd.DataFrame:
    """Return every trial's γ0 and score, as ``trial_scores`` has it.

    Args:
        frame: one row per run and epoch; the tune phase is used.
        ranges: arm → range of γ0 that was searched last; by default, from the lowest to the highest
            of its trials.

    Returns:
        Columns arm, trial, config.gamma0, score, objective, diverged, pruned, best, low, high and
        edge (whether the best of the arm lies at an end of its range, see ``find_edge``). Where a
        metric is to be large, scores are the metric itself, and objective is its column,
        "validation_f1".

    Raises:
        NoDataError: no arm of the tune phase has different γ0, or no trial has a score.
    """
    trials = trial_scores(phase_rows(frame, "tune"))
    if trials["score"].isna().all():
        raise NoDataError("no trial of the tune phase has a score")
    if STEP_SIZE not in trials:
        raise NoDataError(f"the frame has no column {STEP_SIZE}")
    parts = []
    for arm, part in trials.groupby("arm", sort=False):
        tried = part[STEP_SIZE]
        if tried.nunique() < 2:
            continue
        low, high = float(tried.min()), float(tried.max())
        searched = (ranges or {}).get(str(arm), Range(low, high, log=low > 0))
        low, high = bounds(searched)
        best = part.index == (part["score"].idxmin() if part["score"].notna().any() else None)
        edge = any(find_edge(GAMMA0, searched, float(value)) for value in tried[best])
        parts.append(part.assign(best=best, low=low, high=high, edge=edge))
    if not parts:
        raise NoDataError("no arm was tried with different gamma0")
    columns = ["arm", "trial", STEP_SIZE, "score", "objective", "diverged", "pruned"]
    made = pd.concat(parts, ignore_index=True)[[*columns, "best", "low", "high", "edge"]]
    return measured_scores(made, ["score"], judged_by(frame))


def step_sizes(frame: pd.DataFrame, ranges: Mapping[str, Parameter] | None = None) -> Figure:
    """Draw every trial's score over its γ0, a panel per arm; the best is ringed.

    Crosses, at the edge where scores are worst, are trials that diverged or were pruned, dotted
    verticals the ends of the range.

    Args:
        frame: one row per run and epoch; the tune phase is drawn.
        ranges: arm → range of γ0 that was searched last; by default, from the lowest to the highest
            of its trials.

    Raises:
        NoDataError: no arm of the tune phase has different γ0, or no trial has a score.
    """
    table = step_size_table(frame, ranges)
    styles = styles_of(frame)
    groups = list(table.groupby("arm", sort=False))
    lines = -(-len(groups) // COLUMNS)
    figure = canvas(0.6 + 1.4 * lines)
    grid = figure.subplots(lines, min(COLUMNS, len(groups)), squeeze=False, sharey=True)
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    outcome = judged_by(frame)
    rising = is_rising(table, outcome)
    name, scale = score_axis(table["objective"].iloc[0], outcome)
    for axes, (arm, part) in zip(grid.flat, groups, strict=False):
        style = styles[str(arm)]
        axes.plot(
            part[STEP_SIZE],
            scale * part["score"],
            linestyle="",
            marker=style.marker,
            color=style.color,
            markersize=4,
            alpha=0.8,
        )
        # A trial that was pruned has the score of a shorter run.
        gone = part[part["diverged"] | part["pruned"]]
        axes.plot(
            gone[STEP_SIZE],
            np.full(len(gone), 0.03 if rising else 0.97),
            "x",
            color=INK,
            markersize=5,
            transform=axes.get_xaxis_transform(),
        )
        best = part[part["best"]]
        axes.plot(
            best[STEP_SIZE], scale * best["score"], "o", color=INK, markersize=9, fillstyle="none"
        )
        for end in (part["low"].iloc[0], part["high"].iloc[0]):
            axes.axvline(end, color=INK, linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        # An axis of scores that are all 0 cannot be logarithmic.
        if (table["score"] > 0).any() and not rising:
            axes.set_yscale("log")
            plain_log_ticks(axes.yaxis)
        title(axes, f"{arm}: best at an end" if part["edge"].iloc[0] else str(arm))
        tidy(axes)
    figure.supxlabel("first step size γ0", fontsize=9)
    figure.supylabel(name, fontsize=9)
    return figure


def _exhibit(material: Material) -> Exhibit:
    table = step_size_table(material.frame, material.ranges)
    edges = table.loc[table["edge"], "arm"].unique()
    return Exhibit(
        name="step-size",
        title="Sensitivity to the step size",
        caption="Every trial of the search by its γ0; the ring has the best "
        "score, which need not be the winner if finalists were compared. Dotted vertical lines "
        "are the ends of the range: if the ring is at one of them, better values may be "
        "outside the range. Crosses diverged or were pruned.",
        alt="Scores over the first step size, a panel per arm. "
        + (f"Best at an end: {', '.join(edges)}." if len(edges) else "No best value is at an end."),
        figure=step_sizes(material.frame, material.ranges),
        table=table,
    )


EXHIBITS: Exhibits = {90: _exhibit}
