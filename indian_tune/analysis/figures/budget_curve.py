"""Accuracy found by searches of every size: the best trial on validation so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.budget import as_measured, budget_curves
from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import phase_rows, styles_of
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import canvas, legend, tidy
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material


def budget_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the curves of :func:`~indian_tune.analysis.budget.budget_curves` as a table.

    Args:
        frame: one row per run and epoch; the tune phase is used.

    Returns:
        Columns arm, metric, trials, mean, low, high (shares, or the metric of another
        task; the ends of the 95 % interval are NaN where all searches are equal) and searches.

    Raises:
        NoDataError: no arm was searched twice, or its trials have no accuracy.
    """
    curves = as_measured(budget_curves(phase_rows(frame, "tune")), judged_by(frame))
    if not curves:
        raise NoDataError("a budget curve needs at least two searches of an arm, with accuracies")
    columns = ["arm", "metric", "trials", "mean", "low", "high", "searches"]
    parts = [pd.DataFrame(vars(curve))[columns] for curve in curves]
    return pd.concat(parts, ignore_index=True).replace([np.inf, -np.inf], np.nan)


def budget_curve(frame: pd.DataFrame) -> Figure:
    """Draw the accuracy found by searches of every size, with the interval of its mean.

    Args:
        frame: one row per run and epoch; the tune phase is drawn.

    Raises:
        NoDataError: no arm was searched twice, or its trials have no accuracy.
    """
    table = budget_table(frame)
    styles = styles_of(frame)
    figure = canvas(3.2)
    axes = figure.subplots()
    outcome = judged_by(frame)
    scale = outcome.scale
    for arm, line in table.groupby("arm", sort=False):
        style = styles[str(arm)]
        axes.plot(
            line["trials"],
            scale * line["mean"],
            color=style.color,
            linestyle=style.dashes,
            linewidth=1.5,
            label=str(arm),
        )
        axes.fill_between(
            line["trials"],
            scale * line["low"],
            scale * line["high"],
            color=style.color,
            alpha=0.12,
            linewidth=0,
        )
    most = int(table["trials"].max())
    ticks = [2**power for power in range(most.bit_length())]
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_xlim(1, most)
    axes.set_xlabel("trials of a search")
    axes.set_ylabel(_label(frame, table))
    tidy(axes)
    # Most of the way is the first trials; what matters lies near its end.
    late = table[table["trials"] >= most / 8]
    bottom, top = scale * float(late["mean"].min()), scale * float(late["high"].fillna(0).max())
    top = max(top, scale * float(late["mean"].max()))
    # It is read where it is best: above for a share, below for an error.
    lower, upper = (0.3, 0.05) if outcome.greater_is_better else (0.05, 0.3)
    height = (top - bottom) or 0.01 * scale
    axes.set_ylim(bottom - lower * height, top + upper * height)
    legend(figure)
    return figure


def _label(frame: pd.DataFrame, table: pd.DataFrame) -> str:
    split = str(table["metric"].iloc[0]).partition("_")[0]
    return judged_by(frame).label(f"{split}_accuracy")


def _exhibit(material: Material) -> Exhibit:
    table = budget_table(material.frame)
    outcome = judged_by(material.frame)
    sealed = not str(table["metric"].iloc[0]).startswith("test_")
    name = _label(material.frame, table).removesuffix(", %")
    title = f"{name[0].upper()}{name[1:]}"
    moves = "rises" if outcome.greater_is_better else "falls"
    said = "; ".join(
        f"{row['arm']} reaches {outcome.text(row['mean'])} with {row['trials']} trials"
        for row in table.groupby("arm", sort=False).tail(1).to_dict("records")
    )
    return Exhibit(
        name="budget-curve",
        title="Gain from more trials",
        caption=f"{title} of the trial that is best on validation among the first of its own "
        "search, at the last epoch of its runs on the tuning seeds; means over searches; bands are "
        f"95 % t intervals. If a curve still {moves} at its end, more trials may improve its "
        "arm."
        + " The trial was chosen on these examples, so the values look better than they are."
        * sealed,
        alt=f"{title} over trials of a search, a line per arm. {said}.",
        figure=budget_curve(material.frame),
        table=table,
    )


EXHIBITS: Exhibits = {30: _exhibit}
