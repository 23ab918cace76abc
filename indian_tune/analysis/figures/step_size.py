"""How much the step size γ0 matters to every arm, and whether its best value is at an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import styles_of, trial_scores
from indian_tune.analysis.style import INK, canvas, percent_label, plain_log_ticks, tidy, title
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material

COLUMNS = 2
# How near an end counts as at the end, as a share of the logarithm of the range.
MARGIN = 0.05


def step_size_table(
    frame: pd.DataFrame, ranges: Mapping[str, tuple[float, float]] | None = None
) -> pd.DataFrame:
    """Return every trial's γ0 and score, the mean over its seeds at their last epoch.

    The scores are those of ``trial_scores``.

    Args:
        frame: one row per run and epoch; the tune phase is used.
        ranges: arm → lowest and highest γ0 that was searched; by default those of its trials.

    Returns:
        Columns arm, trial, gamma0, score, metric, diverged, best, low, high and edge (whether the
        best of the arm lies within 5 % of an end of its range).

    Raises:
        NoDataError: no arm of the tune phase has different γ0.
    """
    trials = trial_scores(frame)
    if "gamma0" not in trials:
        raise NoDataError("the frame has no column gamma0")
    parts = []
    for arm, part in trials.groupby("arm", sort=False):
        if part["gamma0"].nunique() < 2:
            continue
        low, high = (ranges or {}).get(
            str(arm), (float(part["gamma0"].min()), float(part["gamma0"].max()))
        )
        best = part["score"].idxmin() if part["score"].notna().any() else None
        margin = MARGIN * np.log(high / low)
        value = np.log(part["gamma0"].where(part.index == best)).min()
        edge = bool(value <= np.log(low) + margin or value >= np.log(high) - margin)
        parts.append(part.assign(best=part.index == best, low=low, high=high, edge=edge))
    if not parts:
        raise NoDataError("no arm was tried with different gamma0")
    columns = ["arm", "trial", "gamma0", "score", "metric", "diverged", "best", "low", "high"]
    return pd.concat(parts, ignore_index=True)[[*columns, "edge"]]


def step_sizes(
    frame: pd.DataFrame, ranges: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Draw every trial's score over its γ0, a panel per arm; the best is ringed.

    Crosses at the top are trials that diverged, dotted verticals the ends of the range.

    Args:
        frame: one row per run and epoch; the tune phase is drawn.
        ranges: arm → lowest and highest γ0 that was searched; by default those of its trials.

    Raises:
        NoDataError: no arm of the tune phase has different γ0.
    """
    table = step_size_table(frame, ranges)
    styles = styles_of(frame)
    groups = list(table.groupby("arm", sort=False))
    lines = -(-len(groups) // COLUMNS)
    figure = canvas(0.6 + 1.6 * lines)
    grid = figure.subplots(lines, min(COLUMNS, len(groups)), squeeze=False, sharey=True)
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    percent = table["metric"].iloc[0] == "validation_error"
    scale = 100 if percent else 1
    for axes, (arm, part) in zip(grid.flat, groups, strict=False):
        style = styles[str(arm)]
        axes.plot(
            part["gamma0"],
            scale * part["score"],
            linestyle="",
            marker=style.marker,
            color=style.color,
            markersize=4,
            alpha=0.8,
        )
        gone = part[part["diverged"]]
        axes.plot(
            gone["gamma0"],
            np.full(len(gone), 0.97),
            "x",
            color=INK,
            markersize=5,
            transform=axes.get_xaxis_transform(),
        )
        best = part[part["best"]]
        axes.plot(
            best["gamma0"], scale * best["score"], "o", color=INK, markersize=9, fillstyle="none"
        )
        for end in (part["low"].iloc[0], part["high"].iloc[0]):
            axes.axvline(end, color=INK, linestyle=":", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
        title(axes, f"{arm}: best at an end" if part["edge"].iloc[0] else str(arm))
        tidy(axes)
    figure.supxlabel("first step size γ0", fontsize=9)
    name = percent_label("validation_error") if percent else "training loss"
    figure.supylabel(name, fontsize=9)
    return figure


def _exhibit(material: Material) -> Exhibit:
    table = step_size_table(material.frame, material.ranges)
    edges = table.loc[table["edge"], "arm"].unique()
    return Exhibit(
        name="step-size",
        title="Sensitivity to the step size",
        caption="Every trial of the search by its γ0; the ring is the best. Dotted verticals are "
        "the ends of the range: a ring at one of them means that better values may lie beyond. "
        "Crosses diverged, or were pruned.",
        alt="Scores over the first step size, a panel per arm. "
        + (f"Best at an end: {', '.join(edges)}." if len(edges) else "No best lies at an end."),
        figure=step_sizes(material.frame, material.ranges),
        table=table,
    )


EXHIBITS: Exhibits = {90: _exhibit}
