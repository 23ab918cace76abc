"""Every contrast with its bounds, against no difference and against ±δ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.style import INDIAN, INK, PALE, canvas, tidy
from indian_tune.analysis.typography import signed_points
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.analysis.verdict import Contrast, Verdict


def forest_table(verdict: Verdict, *, beside: bool = False) -> pd.DataFrame:
    """Return the contrasts of a verdict, a row each.

    Args:
        verdict: from ``analyze``.
        beside: whether to add those that decide nothing: secondary ones and sensitivity rows.

    Returns:
        Columns hypothesis, role (primary, secondary, sensitivity), contrast, outcome, estimate,
        low, high (shares), n and label.

    Raises:
        NoDataError: nothing was compared.
    """
    rows = []
    for found in verdict.findings:
        roles: dict[str, tuple[Contrast, ...]] = {"primary": found.primary}
        if beside:
            roles |= {"secondary": found.secondary, "sensitivity": found.sensitivity}
        for role, contrasts in roles.items():
            rows += [
                {
                    "hypothesis": found.hypothesis,
                    "role": role,
                    "contrast": made.name,
                    "outcome": made.outcome,
                    "estimate": made.estimate,
                    "low": made.low,
                    "high": made.high,
                    "n": made.n,
                    "label": str(made.label),
                }
                for made in contrasts
            ]
    if not rows:
        raise NoDataError("the verdict compares nothing")
    return pd.DataFrame(rows)


def forest(verdict: Verdict, *, beside: bool = False) -> Figure:
    """Draw the contrasts as estimates with bounds, in percentage points, and the band ±δ.

    The two ends of a bar are one-sided bounds at the level of the claims. Bounds that are
    infinite (one seed) end in an arrow.

    Args:
        verdict: from ``analyze``.
        beside: whether to add the contrasts that decide nothing.

    Raises:
        NoDataError: nothing was compared.
    """
    table = forest_table(verdict, beside=beside)
    figure = canvas(0.9 + 0.42 * len(table))
    axes = figure.subplots()
    delta = 100 * verdict.delta
    axes.axvspan(-delta, delta, color=PALE, alpha=0.35, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    limit, wide = _limit(table, delta)
    for place, row in enumerate(table.to_dict("records")):
        low, high = (max(-limit, min(limit, 100 * float(end))) for end in (row["low"], row["high"]))
        primary = row["role"] == "primary"
        colour = INDIAN if primary else INK
        axes.plot([low, high], [place, place], color=colour, linewidth=1.8 if primary else 1)
        for end, cut, mark in (
            (low, 100 * row["low"] < -limit, "<"),
            (high, 100 * row["high"] > limit, ">"),
        ):
            if cut:
                axes.plot(end, place, mark, color=colour, markersize=5)
        axes.plot(100 * row["estimate"], place, "o", color=colour, markersize=6 if primary else 4)
        axes.annotate(
            str(row["label"]),
            (1, place),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    names = [
        f"{row['hypothesis']}  {row['contrast']}"
        + ("" if row["outcome"] == "final" else f"\n({row['outcome']})")
        for row in table.to_dict("records")
    ]
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(len(table) - 0.4, -0.6)
    said = f"grey: ±δ = ±{delta:g}"
    if wide:
        axes.set_xscale("symlog", linthresh=4 * delta, linscale=1.5)
        ticks = [t * delta for t in (2, 4, 40) if t * delta <= limit]
        places = [*(-t for t in reversed(ticks)), 0, *ticks]
        axes.set_xticks(places, [f"{t:g}" for t in places])
        axes.minorticks_off()
        said += f", logarithmic beyond ±{4 * delta:g}"
    axes.set_xlim(-limit, limit)
    axes.set_xlabel(f"difference in accuracy, percentage points\n({said})")
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _limit(table: pd.DataFrame, delta: float) -> tuple[float, bool]:
    """Return half the width of the axis, and whether it is too wide for the band to be seen."""
    ends = 100 * table[["estimate", "low", "high"]].abs().to_numpy(float)
    widest = max(float(ends[np.isfinite(ends)].max()), 2 * delta)
    return 1.1 * widest, widest > 15 * delta


def _exhibit(material: Material) -> Exhibit:
    verdict = material.judged
    table = forest_table(verdict)
    said = "; ".join(
        f"{row['hypothesis']} {row['contrast']}: {signed_points(row['estimate'])} "
        f"({signed_points(row['low'])} to {signed_points(row['high'])}), {row['label']}"
        for row in table.to_dict("records")
    )
    return Exhibit(
        name="contrasts",
        title="The contrasts that the verdict rests on",
        caption="Each line is one comparison, paired by seed: the dot is the mean difference in "
        "accuracy, the ends of the bar are its one-sided bounds. A bar right of zero supports the "
        "arm named first; one that ends left of the grey band's right edge rules out a difference "
        f"of δ = {100 * verdict.delta:g} points. The label says what that line shows alone.",
        alt=f"Differences in percentage points with bounds. {said}.",
        figure=forest(verdict),
        table=table,
    )


EXHIBITS: Exhibits = {10: _exhibit}
