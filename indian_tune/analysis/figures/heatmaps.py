"""Heat maps over (α, β) from a designed grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import measured_rows, outcome_of, phase_rows
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import INK, canvas, tidy, title
from indian_tune.analysis.trials import ends, trial_scores
from indian_tune.columns import config_column, hyperparameter
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.outcome import Outcome

# The setting of γ0 at which a cell has its best score.
TUNED = "tuned γ0"
ALPHA, BETA, GAMMA0, ETA = map(config_column, ("alpha", "beta", "gamma0", "eta"))
QUANTITIES = {
    "train_loss": "training loss",
    "accuracy": "accuracy, %",
    "gap": "generalization gap, points",
}


def surface_table(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return what was measured at every point of an arm's grid over (α, β) and the step size.

    Values are means over seeds at the last epoch; a point of which a run diverged has none.

    Args:
        frame: one row per run and epoch; the tune phase is used.
        arm: searched over a grid of alpha, beta and either eta or gamma0.

    Returns:
        Columns config.alpha, config.beta, setting ("η = …", or "tuned γ0" for the setting of the
        step size with the best score, see ``trial_scores``), train_loss, accuracy, gap (training
        minus outcome accuracy) and diverged.

    Raises:
        NoDataError: the arm has no grid with at least two values of alpha and of beta, or every
            point of it diverged.
    """
    rows = phase_rows(frame, "tune")
    rows = rows[rows["arm"] == arm]
    if not {ALPHA, BETA} <= set(rows.columns) or rows.empty:
        raise NoDataError(f"arm {arm!r} has no trials over alpha and beta")
    rate = ETA if ETA in rows and rows[ETA].notna().any() else GAMMA0
    outcome = outcome_of(rows)
    last = ends(rows).dropna(subset=[ALPHA, BETA, rate])
    if last[ALPHA].nunique() < 2 or last[BETA].nunique() < 2:
        raise NoDataError(f"arm {arm!r} was tried at too few values of alpha or beta for a map")
    points = last.drop_duplicates([ALPHA, BETA, rate])
    if len(points) != last[ALPHA].nunique() * last[BETA].nunique() * last[rate].nunique():
        raise NoDataError(
            f"arm {arm!r} was not tried on a whole grid of alpha, beta and {hyperparameter(rate)}"
        )
    last["gap"] = last["train_accuracy"] - last[outcome] if "train_accuracy" in last else np.nan
    last = measured_rows(last, outcome).rename(columns={outcome: "accuracy"})
    by_point = last.groupby([ALPHA, BETA, rate])
    made = by_point[list(QUANTITIES)].mean()
    made["score"] = trial_scores(rows).groupby([ALPHA, BETA, rate])["score"].min()
    made["diverged"] = by_point["diverged"].any()
    if made["diverged"].all():
        raise NoDataError(f"every point of the grid of arm {arm!r} diverged")
    made.loc[made["diverged"], list(QUANTITIES)] = np.nan
    made = made.reset_index()
    parts = []
    if rate == ETA:
        parts = [
            part.assign(setting=f"η = {eta:.3g}") for eta, part in made.groupby(ETA, sort=True)
        ]
    if made[rate].nunique() > 1:
        # A cell where everything diverged keeps one row, which says so.
        order = made.sort_values("score", na_position="last")
        best = order.drop_duplicates([ALPHA, BETA]).sort_values([ALPHA, BETA])
        parts.append(best.assign(setting=TUNED))
    elif rate == GAMMA0:
        parts.append(made.assign(setting=f"γ0 = {made[GAMMA0].iloc[0]:.3g}"))
    columns = [ALPHA, BETA, "setting", *QUANTITIES, "diverged"]
    return pd.concat(parts, ignore_index=True)[columns]


def surface_maps(frame: pd.DataFrame, arm: str) -> Figure:
    """Draw the maps of an arm's grid: a row per quantity, a column per effective learning rate.

    Hatched cells diverged; on the dashed curve, αβ = 1, INDIAN is plain SGD.

    Args:
        frame: one row per run and epoch; the tune phase is drawn.
        arm: searched over a grid of alpha, beta and either eta or gamma0.

    Raises:
        NoDataError: the arm has no grid with at least two values of alpha and of beta, or every
            point of it diverged.
    """
    table, judged = surface_table(frame, arm), judged_by(frame)
    settings = list(dict.fromkeys(table["setting"]))
    shown = [name for name in QUANTITIES if table[name].notna().any()]
    figure = canvas(0.5 + 1.55 * len(shown))
    grid = figure.subplots(len(shown), len(settings), squeeze=False, sharex=True, sharey=True)
    for line, name in zip(grid, shown, strict=True):
        scale = 1 if name == "train_loss" else judged.scale
        low, high = scale * table[name].min(), scale * table[name].max()
        for axes, setting in zip(line, settings, strict=True):
            cells = table[table["setting"] == setting]
            mesh = _draw_cells(axes, cells, name, scale, (low, high))
            if name == shown[0]:
                title(axes, setting)
            tidy(axes)
        bar = figure.colorbar(mesh, ax=line, pad=0.01, aspect=12)
        bar.ax.tick_params(labelsize=8, color=INK, labelcolor=INK)
        bar.outline.set_visible(False)
        bar.set_label(
            _quantity(name, judged).replace("ization ", "ization\n"),
            size=8,
            color=INK,
        )
    figure.supxlabel("α", fontsize=9, color=INK)
    figure.supylabel("β", fontsize=9, color=INK)
    return figure


def _draw_cells(
    axes: Axes, cells: pd.DataFrame, name: str, scale: float, span: tuple[float, float]
) -> QuadMesh:
    values = cells.pivot(index=BETA, columns=ALPHA, values=name)
    gone = cells.pivot(index=BETA, columns=ALPHA, values="diverged")
    x, y = (_edges(np.asarray(axis, dtype=float)) for axis in (values.columns, values.index))
    mesh = axes.pcolormesh(
        x,
        y,
        np.ma.masked_invalid(scale * values.to_numpy(float)),
        cmap="cividis",
        vmin=span[0],
        vmax=span[1],
        edgecolors="none",
    )
    for row, low, high in zip(gone.to_numpy(bool), y[:-1], y[1:], strict=True):
        for lost, left, right in zip(row, x[:-1], x[1:], strict=True):
            if lost:
                axes.fill_between(
                    [left, right],
                    low,
                    high,
                    facecolor="none",
                    edgecolor=INK,
                    hatch="////",
                    linewidth=0,
                )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    curve = np.geomspace(x[0], x[-1], 50)
    # Seen on dark cells and on light ones.
    axes.plot(curve, 1 / curve, color="#FFFFFF", linewidth=3)
    axes.plot(curve, 1 / curve, color="#000000", linestyle="--", linewidth=1.2)
    axes.set_xticks(list(values.columns), [f"{value:g}" for value in values.columns], minor=False)
    axes.set_yticks(list(values.index), [f"{value:g}" for value in values.index], minor=False)
    axes.minorticks_off()
    return mesh


def _edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the borders of cells around points, halfway between them on a log scale."""
    logs = np.log(centres)
    middle = (logs[1:] + logs[:-1]) / 2
    first, last = 2 * logs[0] - middle[0], 2 * logs[-1] - middle[-1]
    edges: NDArray[np.float64] = np.exp(np.concatenate([[first], middle, [last]]))
    return edges


def _exhibit(material: Material) -> Exhibit:
    if material.claims.h3a is None:
        raise NoDataError("no arm was searched over a designed grid")
    arm = material.claims.h3a.arm
    table = surface_table(material.frame, arm)
    by_accuracy = table.sort_values("accuracy").dropna(subset=["accuracy"])
    low, high = by_accuracy.iloc[0], by_accuracy.iloc[-1]
    judged = judged_by(material.frame)
    return Exhibit(
        name="surface",
        title="Over the plane of (α, β)",
        caption="One column per effective learning rate η; in the last one the step size is tuned "
        "in every cell. If (α, β) only set the learning rate, each map at fixed η would have "
        "one colour. Hatched cells diverged. On the dashed curve, αβ = 1, INDIAN is SGD.",
        alt=f"Maps over alpha and beta. The highest {judged.title}, "
        f"{judged.text(high['accuracy'])}, is at {_cell(high)}; the lowest, "
        f"{judged.text(low['accuracy'])}, at {_cell(low)}.",
        figure=surface_maps(material.frame, arm),
        table=table.rename(columns={"accuracy": judged.name}),
    )


def _quantity(name: str, outcome: Outcome) -> str:
    if outcome.share:
        return QUANTITIES[name]
    return {"accuracy": outcome.title, "gap": f"generalization gap, {outcome.unit}"}.get(
        name, QUANTITIES[name]
    )


def _cell(row: pd.Series) -> str:
    alpha, beta = (row[config_column(name)] for name in ("alpha", "beta"))
    return f"alpha {alpha:g}, beta {beta:g} ({row['setting']})"


EXHIBITS: Exhibits = {70: _exhibit}
