"""Accuracy against training loss: what is left of a difference at equal training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import outcome_of, phase_rows, styles_of
from indian_tune.analysis.style import INK, PALE, accuracy_axis, canvas, percent_label, tidy
from indian_tune.analysis.trials import diverged

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material


def trajectory_table(frame: pd.DataFrame, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """Return mean training loss and mean accuracy over seeds, at every epoch of every arm.

    Args:
        frame: one row per run and epoch; the confirm phase is used, without runs that diverged.
        arms: which arms; all by default.

    Returns:
        Columns arm, epoch, train_loss, accuracy (a share) and runs.

    Raises:
        NoDataError: there is no confirm phase, or no accuracy in it.
    """
    rows = phase_rows(frame, "confirm")
    outcome = outcome_of(rows)
    rows = rows[~diverged(rows)]
    if arms is not None:
        rows = rows[rows["arm"].isin(arms)]
    groups = rows.groupby(["arm", "epoch"], sort=False)
    return groups.agg(
        train_loss=("train_loss", "mean"), accuracy=(outcome, "mean"), runs=("seed", "size")
    ).reset_index()


def trajectories(
    frame: pd.DataFrame, taus: Sequence[float] = (), arms: Sequence[str] | None = None
) -> Figure:
    """Draw every arm's way through training loss (falling to the right) and accuracy.

    Thin lines are single runs, thick ones means over seeds, dotted verticals the training losses τ
    at which arms are compared.

    Args:
        frame: one row per run and epoch; the confirm phase is drawn.
        taus: training losses to mark.
        arms: which arms; all by default.

    Raises:
        NoDataError: there is no confirm phase, or no accuracy in it.
    """
    table = trajectory_table(frame, arms)
    rows = phase_rows(frame, "confirm")
    outcome = outcome_of(rows)
    rows = rows[~diverged(rows) & rows["arm"].isin(table["arm"])]
    styles = styles_of(frame)
    figure = canvas(4.3)
    axes = figure.subplots()
    for arm, line in table.groupby("arm", sort=False):
        style = styles[str(arm)]
        for _, run in rows[rows["arm"] == arm].groupby("seed"):
            axes.plot(
                run["train_loss"], 100 * run[outcome], color=style.color, linewidth=0.5, alpha=0.25
            )
        axes.plot(
            line["train_loss"],
            100 * line["accuracy"],
            color=style.color,
            linestyle=style.dashes,
            linewidth=1.6,
            label=str(arm),
        )
        axes.plot(
            line["train_loss"].iloc[-1],
            100 * line["accuracy"].iloc[-1],
            color=style.color,
            marker=style.marker,
            markersize=5,
        )
    axes.set_xscale("log")
    axes.invert_xaxis()
    for tau in taus:
        axes.axvline(tau, color=PALE, linestyle=":", linewidth=1, zorder=0)
        axes.annotate(
            f"{tau:.2g}",
            (tau, 1),
            (0, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color=INK,
        )
    if taus:
        axes.annotate(
            "τ",
            (0, 1),
            (-4, 2),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=INK,
        )
    axes.set_xlabel("training loss (falls to the right)")
    axes.set_ylabel(percent_label(outcome))
    # Most of the way is the first epochs; what matters lies near its end.
    low = float(table.groupby("arm")["accuracy"].quantile(0.1).min())
    accuracy_axis(axes, 100 * low, 100 * float(rows[outcome].max()))
    tidy(axes)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _exhibit(material: Material) -> Exhibit:
    arms: list[str] | None = None
    taus: tuple[float, ...] = ()
    claim = material.claims.h2
    if claim is not None:
        named = (claim.arm, claim.baseline, claim.matched_rate, *claim.momentum)
        arms, taus = [name for name in named if name is not None], material.claims.taus
    table = trajectory_table(material.frame, arms)
    ends = table.groupby("arm", sort=False).tail(1)
    said = "; ".join(
        f"{row['arm']} ends at loss {row['train_loss']:.3g} with {100 * row['accuracy']:.2f} %"
        for row in ends.to_dict("records")
    )
    return Exhibit(
        name="accuracy-against-loss",
        title="Accuracy against training loss",
        caption="Each line is an arm's way through training, from left to right. A line that runs "
        "above another is more accurate at equal training loss, which is what a regularizer does; "
        "lines on top of each other differ only in how fast they get there. Dotted verticals are "
        "the training losses τ at which H2 compares; the mark is the end of training.",
        alt=f"Accuracy over training loss, a line per arm. {said}.",
        figure=trajectories(material.frame, taus, arms),
        table=table,
    )


EXHIBITS: Exhibits = {20: _exhibit}
