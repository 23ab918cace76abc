"""Every contrast with its bounds, against no difference and against ±δ."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.contrasts import stopped
from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.style import INDIAN, INK, PALE, canvas, tidy
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.analysis.verdict import Contrast, Finding, Verdict
    from indian_tune.outcome import Outcome


ESTIMANDS = {"test": "Δ", "train": "D", "gap": "G"}


def forest_table(verdict: Verdict, *, beside: bool = False) -> pd.DataFrame:
    """Return the contrasts of a verdict, a row for each of Δ, D and G.

    Args:
        verdict: from ``analyze``.
        beside: whether to add those that decide nothing.

    Returns:
        Columns hypothesis, role (claim or beside), contrast, quantity (Δ, D or G), estimate, low,
        high (shares), n, unit and label.

    Raises:
        NoDataError: nothing was compared.
    """
    roles = ("contrasts", "beside")
    claimed = any(found.contrasts for found in verdict.findings)
    shown = roles if beside or not claimed else roles[:1]
    rows = [
        {
            "hypothesis": found.hypothesis,
            "role": "claim" if role == "contrasts" else "beside",
            "contrast": made.name,
            "quantity": symbol,
            "estimate": amount.estimate,
            "low": amount.low,
            "high": amount.high,
            "n": made.n,
            "unit": made.unit,
            "label": _label(verdict, found, made) if symbol == "Δ" else "–",
        }
        for found in verdict.findings
        for role in shown
        for made in getattr(found, role)
        for key, symbol in ESTIMANDS.items()
        if (amount := getattr(made, key)) is not None and np.isfinite(amount.estimate)
    ]
    if not rows:
        raise NoDataError("the verdict compares nothing")
    return pd.DataFrame(rows)


def _label(verdict: Verdict, found: Finding, made: Contrast) -> str:
    """Return what the bounds say, and whether a gate withholds it; nothing without a claim."""
    if not verdict.claimed:
        return "–"
    withheld = stopped(made, found.gates, made.label)
    return f"{made.label} by its bounds, withheld by a gate" if withheld else str(made.label)


def forest(verdict: Verdict, *, beside: bool = False) -> Figure:
    """Draw Δ, D and G with their bounds, in percentage points, and the band ±δ.

    The left end of a bar is the lower bound, the right end the upper one; each is one-sided, at a
    level of its own. Bounds that are infinite end in an arrow.

    Args:
        verdict: from ``analyze``.
        beside: whether to add the contrasts that decide nothing.

    Raises:
        NoDataError: nothing was compared.
    """
    table, outcome = forest_table(verdict, beside=beside), verdict.scope.judged
    records = table.to_dict("records")
    # A contrast has a line for its name, above those of its quantities.
    named = itertools.accumulate(row["quantity"] == "Δ" for row in records)
    places = [row + above for row, above in enumerate(named)]
    figure = canvas(0.8 + 0.2 * (places[-1] + 1))
    axes = figure.subplots()
    scale = outcome.scale
    delta = scale * verdict.delta
    limit, wide = _limit(scale * table[["estimate", "low", "high"]], delta)
    for place, row in zip(places, records, strict=True):
        low, high = (
            max(-limit, min(limit, scale * float(end))) for end in (row["low"], row["high"])
        )
        main = row["quantity"] == "Δ"
        colour = INDIAN if main else INK
        axes.plot([low, high], [place, place], color=colour, linewidth=1.8 if main else 1)
        for end, cut, mark in (
            (low, scale * row["low"] < -limit, "<"),
            (high, scale * row["high"] > limit, ">"),
        ):
            if cut:
                axes.plot(end, place, mark, color=colour, markersize=5)
        axes.plot(scale * row["estimate"], place, "o", color=colour, markersize=6 if main else 4)
        span = [place - 0.5, place + 0.5]
        if verdict.claimed:
            axes.fill_betweenx(span, -delta, delta, color=PALE, alpha=0.35, linewidth=0)
        axes.plot([0, 0], span, color=INK, linewidth=0.8)
        if main:
            name = f"{row['contrast']}: {row['label']}".removesuffix(": –")
            name = f"{row['hypothesis']}  {name}" if verdict.claimed else name
            axes.annotate(
                name,
                (0, place - 1),
                (-12, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
    axes.set_yticks(places, [row["quantity"] for row in records])
    axes.set_ylim(places[-1] + 0.6, -0.6)
    said = [f"grey: ±δ = ±{delta:g}"] if verdict.claimed else []
    if wide:
        axes.set_xscale("symlog", linthresh=4 * delta, linscale=1.5)
        ticks = [t * delta for t in (2, 4, 40) if t * delta <= limit]
        ticks = [*(-t for t in reversed(ticks)), 0, *ticks]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        said.append(f"logarithmic beyond ±{4 * delta:g}")
    axes.set_xlim(-limit, limit)
    axes.set_xlabel(f"difference, {_unit(outcome)}" + (f"\n({', '.join(said)})" if said else ""))
    tidy(axes)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=8)
    return figure


def _unit(outcome: Outcome) -> str:
    if outcome.share:
        return "percentage points"
    return f"{outcome.unit}; above 0 the first is better"


def _limit(table: pd.DataFrame, delta: float) -> tuple[float, bool]:
    """Return half the width of the axis, and whether it is too wide for the band to be seen."""
    ends = table.abs().to_numpy(float)
    widest = max(float(ends[np.isfinite(ends)].max()), 2 * delta)
    return 1.1 * widest, widest > 15 * delta


def _exhibit(material: Material) -> Exhibit:
    verdict = material.judged
    table, outcome = forest_table(verdict), verdict.scope.judged
    said = "; ".join(
        f"{row['hypothesis']} {row['contrast']} {row['quantity']}: "
        f"{outcome.signed(row['estimate'])} (at least {outcome.signed(row['low'])}, at most "
        f"{outcome.signed(row['high'])})"
        for row in table.to_dict("records")
    )
    claim = (
        " Every Δ right of zero supports the claim; one that ends left of the band's right edge "
        f"rules out a gain of δ = {outcome.amount(verdict.delta)}."
    )
    return Exhibit(
        name="contrasts",
        title="The contrasts of the claim" if verdict.claimed else "Differences between arms",
        caption=f"Δ is the difference in test {outcome.title} at the last epoch, D the difference "
        f"in training {outcome.title}, and G = Δ - D the gain beyond a better fit. The "
        f"left end of a bar is a lower bound at level {verdict.alpha:g}, the right end an "
        f"upper bound at {verdict.alpha:g} / {verdict.contrasts}." + claim * verdict.claimed,
        alt=f"Differences in {_unit(outcome)} with bounds. {said}.",
        figure=forest(verdict),
        table=table,
    )


EXHIBITS: Exhibits = {10: _exhibit}
