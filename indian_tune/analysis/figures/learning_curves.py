"""Training loss and accuracy over epochs: the replica of the paper's Figure 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import stats

from indian_tune.analysis.estimates import CONFIDENCE
from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import (
    measured_rows,
    outcome_axis,
    outcome_of,
    phase_rows,
    styles_of,
)
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import ArmStyle, canvas, legend, tidy
from indian_tune.analysis.trials import diverged
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material

Band = Literal["range", "interval"]


def learning_curve_table(frame: pd.DataFrame, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Return the mean of every arm at every epoch of the confirm phase, with its spread.

    Runs that diverged are left out; the column ``diverged`` counts them. The interval is over
    searches where there are several, and else over seeds.

    Args:
        frame: one row per run and epoch.
        confidence: of the two-sided t interval of the mean.

    Returns:
        Columns arm, metric, epoch, mean, min, max, low, high (the interval; NaN with one run),
        runs and diverged.

    Raises:
        NoDataError: there is no confirm phase, no accuracy in it, or no run that trained.
    """
    rows = phase_rows(frame, "confirm")
    gone = diverged(rows)
    lost = rows[gone].drop_duplicates(["arm", "replicate", "seed"])["arm"].value_counts()
    outcome = judged_by(frame)
    shown = outcome_of(rows)
    sound = measured_rows(rows[~gone], shown)
    if sound.empty:
        raise NoDataError("no run of the confirm phase trained")
    parts = []
    for metric in ("train_loss", shown):
        groups = sound.groupby(["arm", "epoch"], sort=False)[metric]
        part = groups.agg(["mean", "min", "max", "count"]).reset_index()
        unit = "replicate" if rows["replicate"].nunique() > 1 else "seed"
        units = sound.groupby(["arm", "epoch", unit], sort=False)[metric].mean()
        error = units.groupby(["arm", "epoch"], sort=False).agg(["sem", "count"]).reset_index()
        half = error["sem"] * stats.t.ppf((1 + confidence) / 2, np.maximum(error["count"] - 1, 1))
        part = part.assign(
            metric=outcome.column(metric),
            low=part["mean"] - half,
            high=part["mean"] + half,
            runs=part["count"],
        )
        parts.append(part)
    made = pd.concat(parts, ignore_index=True)
    made["diverged"] = made["arm"].map(lost).fillna(0).astype(int)
    columns = ["arm", "metric", "epoch", "mean", "min", "max", "low", "high", "runs", "diverged"]
    return made[columns]


def learning_curves(
    frame: pd.DataFrame, *, band: Band = "range", published: pd.DataFrame | None = None
) -> Figure:
    """Draw training loss (on a log scale) and accuracy over epochs, a line per arm.

    Args:
        frame: one row per run and epoch; the confirm phase is drawn.
        band: around the mean: from the worst to the best run, or its 95 % interval.
        published: end points to overlay, with columns arm, metric, mean, min and max; those of
            arms and metrics that are not drawn are left out.

    Raises:
        NoDataError: there is no confirm phase, no accuracy in it, or no run that trained.
    """
    table, outcome = learning_curve_table(frame), judged_by(frame)
    styles = styles_of(frame)
    figure = canvas(4.6)
    panels = figure.subplots(2, 1, sharex=True)
    edges = ("min", "max") if band == "range" else ("low", "high")
    for axes, (metric, part) in zip(panels, table.groupby("metric", sort=False), strict=True):
        scale = 1.0 if metric == "train_loss" else outcome.scale
        for arm, line in part.groupby("arm", sort=False):
            style = styles[str(arm)]
            lost = int(line["diverged"].iloc[0])
            axes.plot(
                line["epoch"],
                scale * line["mean"],
                color=style.color,
                linestyle=style.dashes,
                linewidth=1.5,
                # A line through one point is not seen.
                marker="o" if len(line) == 1 else None,
                label=f"{arm} ({lost} failed)" if lost else str(arm),
            )
            axes.fill_between(
                line["epoch"],
                scale * line[edges[0]],
                scale * line[edges[1]],
                color=style.color,
                alpha=0.12,
                linewidth=0,
            )
        if published is not None:
            points = published[published["metric"] == metric]
            _overlay(axes, points, styles, int(table["epoch"].max()), scale)
        tidy(axes)
        # An interval may reach beyond every run, and below 0.
        low, high = scale * float(part["min"].min()), scale * float(part["max"].max())
        if metric == "train_loss" and low > 0:
            axes.set_yscale("log")
            axes.set_ylim(0.8 * low, 1.25 * high)
        else:
            outcome_axis(axes, low, high, outcome)
    top, bottom = panels
    top.set_ylabel("training loss")
    bottom.set_ylabel(outcome.label(outcome_of(phase_rows(frame, "confirm"))))
    bottom.set_xlabel("epoch")
    bottom.xaxis.get_major_locator().set_params(integer=True)
    beyond = 1.0 if published is None else 1.12
    first, last = float(table["epoch"].min()), float(table["epoch"].max())
    # One epoch has no range of its own.
    bottom.set_xlim(first - 0.5 * (first == last), beyond * last + 0.5 * (first == last))
    legend(figure)
    return figure


def _overlay(
    axes: Axes, points: pd.DataFrame, styles: Mapping[str, ArmStyle], epoch: int, scale: float
) -> None:
    """Draw published end points beside the last epoch, with their range, in their arms' colours."""
    for place, row in enumerate(points[points["arm"].isin(styles)].to_dict("records")):
        mean, low, high = (scale * row[name] for name in ("mean", "min", "max"))
        style = styles[row["arm"]]
        axes.errorbar(
            epoch * (1.02 + 0.015 * place),
            mean,
            yerr=[[mean - low], [high - mean]],
            color=style.color,
            marker="_",
            markersize=7,
            linewidth=1,
            label="_published",
            clip_on=False,
        )


def _over_epochs(material: Material) -> Exhibit:
    overlaid = (
        "" if material.published is None else " Bars at the right are the published end points."
    )
    return Exhibit(
        name="learning-curves",
        title=f"Training loss and {judged_by(material.frame).title} over epochs",
        caption="Means over runs that trained; bands reach from the worst to the best run. A band "
        "is not a confidence interval: it grows with the number of runs." + overlaid,
        alt=_curve_words(material.frame),
        figure=learning_curves(material.frame, published=material.published),
        table=learning_curve_table(material.frame),
    )


def _with_intervals(material: Material) -> Exhibit:
    table = learning_curve_table(material.frame)
    if table["low"].isna().all():
        raise NoDataError("there is no interval of one run")
    return Exhibit(
        name="learning-curves-intervals",
        title="The same with intervals",
        caption="Bands are 95 % t intervals of the mean over searches, or over the seeds of one "
        "search. Overlap does not show whether two arms differ: the arms have the same "
        "seeds, and the contrasts above are paired.",
        alt=_curve_words(material.frame),
        figure=learning_curves(material.frame, band="interval"),
        table=table,
    )


def _curve_words(frame: pd.DataFrame) -> str:
    table = learning_curve_table(frame)
    ends = table[table["epoch"] == table.groupby("arm")["epoch"].transform("max")]
    loss = ends[ends["metric"] == "train_loss"].set_index("arm")["mean"]
    outcome, column = judged_by(frame), outcome_of(phase_rows(frame, "confirm"))
    final = ends[ends["metric"] == outcome.column(column)].set_index("arm")["mean"]
    said = "; ".join(
        f"{arm} ends at loss {loss[arm]:.3g} with {outcome.text(final[arm])}" for arm in loss.index
    )
    return f"Training loss and {outcome.words(column)} over epochs, a line per arm. {said}."


EXHIBITS: Exhibits = {40: _over_epochs, 50: _with_intervals}
