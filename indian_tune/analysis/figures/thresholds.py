"""The difference at equal training loss, at every training loss that was registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.matched_loss import MatchedLossDetails
from indian_tune.analysis.style import INDIAN, INK, PALE, canvas, plain_log_ticks, tidy
from indian_tune.analysis.typography import signed_points
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.analysis.verdict import Verdict


def threshold_table(verdict: Verdict) -> pd.DataFrame:
    """Return the training losses τ of H2 with the difference at each.

    Returns:
        Columns tau, kept, unreached (how many runs do not cross it), estimate, low and high
        (shares; NaN unless kept).

    Raises:
        NoDataError: no τ was kept.
    """
    details = verdict.finding("H2").details
    taus = details.thresholds if isinstance(details, MatchedLossDetails) else ()
    if not any(each.kept for each in taus):
        raise NoDataError("H2 was not compared at any training loss")
    return pd.DataFrame(
        [
            {
                "tau": each.tau,
                "kept": each.kept,
                "unreached": len(each.unreached),
                "estimate": each.estimate,
                "low": each.low,
                "high": each.high,
            }
            for each in taus
        ]
    ).astype({"estimate": float, "low": float, "high": float})


def thresholds(verdict: Verdict) -> Figure:
    """Draw the mean difference with its bounds at every training loss τ of H2, and the band ±δ.

    Crosses on the axis are τ that were dropped, because a run never crosses them.

    Raises:
        NoDataError: no τ was kept.
    """
    table = threshold_table(verdict)
    figure = canvas(3.2)
    axes = figure.subplots()
    delta = 100 * verdict.delta
    axes.axhspan(-delta, delta, color=PALE, alpha=0.35, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    kept = table[table["kept"]]
    axes.vlines(kept["tau"], 100 * kept["low"], 100 * kept["high"], color=INDIAN, linewidth=1.5)
    axes.plot(kept["tau"], 100 * kept["estimate"], "o", color=INDIAN, markersize=6)
    dropped = table.loc[~table["kept"], "tau"]
    axes.plot(dropped, [0] * len(dropped), "x", color=INK, markersize=7)
    axes.set_xscale("log")
    plain_log_ticks(axes.xaxis)
    axes.invert_xaxis()
    axes.set_xlabel("training loss τ (falls to the right)")
    axes.set_ylabel(f"difference, percentage points\n(grey: ±δ = ±{delta:g})")
    tidy(axes)
    return figure


def _exhibit(material: Material) -> Exhibit:
    table = threshold_table(material.judged)
    kept = table[table["kept"]].to_dict("records")
    said = "; ".join(f"at τ = {row['tau']:.2g}: {signed_points(row['estimate'])}" for row in kept)
    return Exhibit(
        name="matched-loss",
        title="The difference at equal training loss",
        caption="The mean difference in accuracy at the moment when both arms first reach a "
        "training loss τ, with its bounds. Crosses are τ that were dropped because a run never "
        "crosses them.",
        alt=f"Differences in percentage points: {said}.",
        figure=thresholds(material.judged),
        table=table,
    )


EXHIBITS: Exhibits = {30: _exhibit}
