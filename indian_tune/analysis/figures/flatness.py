"""Sharpness at the end of training against generalisation, run by run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import outcome_of, phase_rows, styles_of
from indian_tune.analysis.flatness import MEASURES, summarise_flatness
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import canvas, legend, plain_log_ticks, tidy
from indian_tune.analysis.trials import ends
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material

ACROSS = ("sharpness", "top_eigenvalue")
"""The measures that are drawn, a column of panels each."""


def flatness_table(frame: pd.DataFrame, flatness: pd.DataFrame) -> pd.DataFrame:
    """Return the flatness of every run beside its error and its generalisation gap.

    Args:
        frame: one row per run and epoch; the confirm phase is used.
        flatness: one row per run, as ``summarise_flatness`` takes it.

    Returns:
        The columns of ``flatness``, with error (share of the test examples classified wrongly
        at the last epoch, or the error of another task; of the validation examples while the test
        set is sealed) and gap (that error minus the same on the training examples; NaN where it
        was not measured). A metric that is to be large has its own name and values in place of
        error.

    Raises:
        NoDataError: no run has both.
    """
    rows = phase_rows(frame, "confirm")
    outcome = outcome_of(rows)
    last = ends(rows)
    last = last.assign(error=1 - last[outcome], gap=np.nan)
    if "train_accuracy" in last:
        last["gap"] = last["train_accuracy"] - last[outcome]
    judged = judged_by(frame)
    shown = judged.error_column
    last = last.assign(**{shown: judged.shown(last["error"])})
    made = flatness.merge(last[["arm", "trial", "seed", shown, "gap"]], on=["arm", "trial", "seed"])
    if made.empty:
        raise NoDataError("no run on the fresh seeds has its flatness measured")
    return made


def sharpness(frame: pd.DataFrame, flatness: pd.DataFrame) -> Figure:
    """Draw error and generalisation gap over two measures of sharpness, a point per run.

    Args:
        frame: one row per run and epoch; the confirm phase is drawn.
        flatness: one row per run, as ``flatness_table`` takes it.

    Raises:
        NoDataError: no run on the fresh seeds has its flatness measured.
    """
    table = flatness_table(frame, flatness)
    styles = styles_of(frame)
    part_of = outcome_of(phase_rows(frame, "confirm")).removesuffix("_accuracy")
    outcome = judged_by(frame)
    error = outcome.error_title
    gap = f"training - {part_of}" if outcome.rises else f"{part_of} - training"
    down = {
        outcome.error_column: f"{part_of} {error}" + ", %" * outcome.share,
        "gap": f"{gap} {error}" + ", points" * outcome.share,
    }
    shown = {name: label for name, label in down.items() if table[name].notna().any()}
    figure = canvas(0.9 + 2.1 * len(shown))
    grid = figure.subplots(len(shown), len(ACROSS), squeeze=False, sharex="col", sharey="row")
    for line, (name, label) in zip(grid, shown.items(), strict=True):
        for axes, measure in zip(line, ACROSS, strict=True):
            # On a logarithmic axis a measure that is not above 0 has no place.
            above = table[table[measure] > 0]
            for arm, points in above.groupby("arm", sort=False):
                style = styles[str(arm)]
                rate = points["effective_learning_rate"].iloc[0]
                axes.plot(
                    points[measure],
                    outcome.scale * points[name],
                    linestyle="",
                    marker=style.marker,
                    markersize=5,
                    # Hollow, so that of two arms that do the same both are seen.
                    markerfacecolor="none",
                    color=style.color,
                    label=str(arm) if np.isnan(rate) else f"{arm} (η = {rate:.2g})",
                )
            if len(above):
                axes.set_xscale("log")
                plain_log_ticks(axes.xaxis)
            tidy(axes)
        line[0].set_ylabel(label)
    for axes, measure in zip(grid[-1], ACROSS, strict=True):
        axes.set_xlabel(MEASURES[measure])
    legend(figure)
    return figure


def _exhibit(material: Material) -> Exhibit:
    if material.flatness is None:
        raise NoDataError("the flatness of the runs was not measured")
    judged = judged_by(material.frame)
    said = "; ".join(
        f"{made.arm} {made.mean:.3g}"
        for made in summarise_flatness(material.flatness)
        if made.measure == "sharpness"
    )
    return Exhibit(
        name="sharpness",
        title="Sharpness and generalisation",
        caption="Every run on the fresh seeds at its end: how much the training loss rises within "
        "a small relative distance of the weights (left; rescaling a ReLU network does not "
        "change it) and the largest curvature (right). Descriptive: sharpness depends on the "
        "effective learning rate η of an arm, so compare only arms with about the same η. A "
        "difference here does not explain a difference in accuracy.",
        alt=f"{judged.title if judged.rises else 'Error'} over sharpness, a point per run. Mean "
        f"worst-case adaptive sharpness: {said}.",
        figure=sharpness(material.frame, material.flatness),
        table=flatness_table(material.frame, material.flatness),
    )


EXHIBITS: Exhibits = {130: _exhibit}
