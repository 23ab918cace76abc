"""The figures, drawn from what the experiments computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.style import INDIAN, INK, PALE, panel_letter, shade, tidy
from indian_tune.reproduce.objectives import TwoKinks
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

    from indian_tune.reproduce.figure1 import Figure1
    from indian_tune.reproduce.theorem1 import ConvergenceRun

__all__ = ["draw_convergence", "draw_figure1"]

# Line of each panel of Figure 1: shade, dashes.
PANEL_LINES = {"a": (shade(0.1), "-"), "b": (INDIAN, (0, (4, 1))), "c": (shade(0.85), "-")}
# More points than a line on paper can show are left out.
DRAWN_EVERY = 10
# Where a logarithmic axis ends for a quantity that may reach 0.
FLOOR = 1e-6


def draw_figure1(figure: Figure1) -> Canvas:
    """Draw the four panels as printed above the four as fitted.

    Under each fitted path lies the printed one of the same panel, in grey.
    """
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(12.5, 6.4), layout="constrained")
    rows = canvas.subplots(2, 4, width_ratios=[1, 1, 1, 1.35])
    for axes_row, variant in zip(rows, ("printed", "fitted"), strict=True):
        for axes, panel in zip(axes_row, PANEL_LINES, strict=False):
            _draw_path(axes, figure, variant, panel)
        _draw_values(axes_row[-1], figure, variant)
        axes_row[0].set_ylabel(f"as {variant}\n\n$\\theta_2$", color=INK)
    for axes in rows[1]:
        axes.set_xlabel("$\\theta_1$", color=INK)
    rows[1, -1].set_xlabel("iteration / 1000", color=INK)
    rows[0, 0].annotate("start", (-1, 1.5), (6, 2), textcoords="offset points", fontsize=8)
    rows[0, 0].annotate("minimum", (1, 1), (-52, 4), textcoords="offset points", fontsize=8)
    rows[1, 0].plot([], [], color=PALE, linewidth=2.5, label="as printed")
    rows[1, 0].legend(loc="lower left", fontsize=8, frameon=False)
    return canvas


def draw_convergence(runs: Sequence[ConvergenceRun]) -> Canvas:
    """Draw J and the distance of 0 to D J along the runs, a row for each objective.

    Lines are medians over the seeds, bands their range; the darker, the faster the step sizes
    decay. The constant step size, which the theorem leaves out, is dashed.
    """
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9.5, 2.3 * len(runs) + 0.6), layout="constrained")
    rows = canvas.subplots(len(runs), 2, squeeze=False)
    for (left, right), run in zip(rows, runs, strict=True):
        lowest = run.objective.minimum
        label = "$J(\\theta_k) - \\min J$"
        if lowest is None:
            lowest, label = 0.0, "$J(\\theta_k)$"
        _draw_bands(left, run, run.values - lowest, label)
        _draw_bands(right, run, run.distances, "dist(0, D J)")
        _draw_clarke(right, run)
        left.set_title(run.objective.title, loc="left", fontsize=9, color=INK)
    for axes in rows[-1]:
        axes.set_xlabel("iteration", color=INK)
    handles, labels = rows[0, 0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    canvas.supxlabel(
        f"Medians and ranges over {counted(runs[0].values.shape[1], 'seed')}. Kinks within "
        f"{runs[0].radius:g} of the iterate count for D J. Values below {FLOOR:g} are drawn there.",
        fontsize=8,
        color=INK,
    )
    return canvas


def _draw_path(axes: Axes, figure: Figure1, variant: str, panel: str) -> None:
    colour, _ = PANEL_LINES[panel]
    curve = figure.curve(variant, panel)
    if variant == "fitted":
        printed = figure.curve("printed", panel).path[::DRAWN_EVERY]
        axes.plot(*printed.T, color=PALE, linewidth=2.5, solid_capstyle="butt")
    axes.plot(*curve.path[::DRAWN_EVERY].T, color=colour, linewidth=1.1)
    axes.plot(*curve.path[0], "o", color=INK, markersize=4)
    axes.plot(1, 1, "*", color=INK, markersize=8)
    axes.set_xlim(-2.0, 1.75)
    axes.set_ylim(-0.25, 1.75)
    panel_letter(axes, panel, f"$\\alpha$ = {curve.alpha:g}, $\\beta$ = {curve.beta:g}")
    _draw_levels(axes)
    tidy(axes)


def _draw_levels(axes: Axes) -> None:
    first, second = np.meshgrid(np.linspace(-2, 1.75, 151), np.linspace(-0.25, 1.75, 81))
    points = np.stack([first.ravel(), second.ravel()], axis=1)
    heights = TwoKinks().value(points).reshape(first.shape)
    axes.contour(
        first,
        second,
        np.log10(np.maximum(heights, FLOOR)),
        levels=[-0.5, 0, 0.5, 1, 1.5, 2, 2.5],
        colors="#E4E4E4",
        linewidths=0.6,
        linestyles="solid",
        zorder=0,
    )


def _draw_values(axes: Axes, figure: Figure1, variant: str) -> None:
    for panel, (colour, dashes) in PANEL_LINES.items():
        curve = figure.curve(variant, panel)
        steps = np.arange(0, curve.values.shape[0], DRAWN_EVERY)
        axes.semilogy(
            steps / 1000,
            curve.values[steps],
            color=colour,
            linestyle=dashes,
            linewidth=1.1,
            label=f"({panel})  {curve.alpha:g}, {curve.beta:g}",
        )
    axes.set_xlim(0, steps[-1] / 1000)
    axes.set_ylim(1e-8, 1e2)
    axes.legend(title="$\\alpha, \\beta$", fontsize=8, title_fontsize=8, frameon=False)
    panel_letter(axes, "d", "$J(\\theta_k)$")
    tidy(axes)


def _draw_bands(axes: Axes, run: ConvergenceRun, values: np.ndarray, label: str) -> None:
    steps = run.steps + 1
    shown = np.maximum(values, FLOOR)
    for row, power in enumerate(run.decay_powers):
        constant = power == 0
        colour = shade(0.95 - 0.9 * power)
        axes.plot(
            steps,
            np.median(shown[row], axis=0),
            color=colour,
            linestyle="--" if constant else "-",
            linewidth=1.4,
            label=f"a = {power:g}",
        )
        axes.fill_between(
            steps, shown[row].min(axis=0), shown[row].max(axis=0), color=colour, alpha=0.18, lw=0
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(1, steps[-1])
    if shown.min() < 0.01:
        axes.set_ylim(FLOOR / 2, max(20.0, 1.5 * float(shown.max())))
    axes.set_ylabel(label, fontsize=8, color=INK)
    tidy(axes)


def _draw_clarke(axes: Axes, run: ConvergenceRun) -> None:
    """Mark how far the ends are from critical in Clarke's sense, where that is another thing."""
    if run.clarke_distances is None:
        return
    ends = run.clarke_distances
    if np.abs(ends - run.distances[:, :, -1]).max() > FLOOR:
        axes.axhline(float(np.median(ends)), color=INK, linestyle=":", linewidth=1.4)
        axes.annotate(
            "dist(0, ∂J)",
            (1, float(np.median(ends))),
            (4, -11),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
