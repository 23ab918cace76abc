"""How many searches the smallest effect of interest needs, from the spread that was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.power import power
from indian_tune.analysis.style import DASHES, INK, PALE, RIVALS, canvas, tidy
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.analysis.verdict import Verdict

# Numbers of seeds that are drawn, up to what a large study can pay for.
SEEDS = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 65, 80, 100)
LEVEL = 0.8


def power_table(verdict: Verdict) -> pd.DataFrame:
    """Return the probability of finding δ over numbers of searches, for every tested hypothesis.

    The deviation is the largest among the contrasts of a hypothesis: all of them must hold.

    Returns:
        Columns hypothesis, deviation (a share), n, power and present (whether n is the number
        of the study).

    Raises:
        NoDataError: no contrast has a deviation between searches.
    """
    rows = []
    for found in verdict.findings:
        deviations = [made.power.deviation for made in found.contrasts if made.power is not None]
        if not deviations:
            continue
        present = max(made.n for made in found.contrasts)
        for n in sorted({*SEEDS, present} - {0, 1}):
            share = power(max(deviations), verdict.delta, verdict.alpha, n=n).achieved
            rows.append(
                {
                    "hypothesis": found.hypothesis,
                    "deviation": max(deviations),
                    "n": n,
                    "power": share,
                    "present": n == present,
                }
            )
    if not rows:
        raise NoDataError("no contrast of the verdict has a deviation between searches")
    return pd.DataFrame(rows)


def power_curve(verdict: Verdict) -> Figure:
    """Draw the probability of finding an effect of δ against the number of searches.

    A dot marks the study, the horizontal the usual power of 0.8.

    Raises:
        NoDataError: no contrast has a deviation between searches.
    """
    table = power_table(verdict)
    figure = canvas(3.2)
    axes = figure.subplots()
    axes.axhline(LEVEL, color=PALE, linewidth=1)
    for place, (name, part) in enumerate(table.groupby("hypothesis", sort=False)):
        colour = (INK, *RIVALS)[place % 7]
        axes.plot(
            part["n"], part["power"], color=colour, linestyle=DASHES[place % 4], label=str(name)
        )
        here = part[part["present"]]
        axes.plot(here["n"], here["power"], "o", color=colour, markersize=6)
    axes.set_xscale("log")
    axes.set_xticks([3, 5, 10, 20, 50, 100], ["3", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("searches of every arm")
    axes.set_ylabel(f"power to find δ = {verdict.scope.judged.amount(verdict.delta)}")
    tidy(axes)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _exhibit(material: Material) -> Exhibit:
    table = power_table(material.judged)
    here = table[table["present"]]
    said = "; ".join(
        f"{row['hypothesis']}: {row['power']:.2f} with {row['n']}"
        for row in here.to_dict("records")
    )
    return Exhibit(
        name="power",
        title="Number of searches needed",
        caption="The probability of finding an effect of exactly δ, if differences have the same "
        "standard deviation as here. The dot is this study; the horizontal line is the usual "
        "0.8.",
        alt=f"Power. {said}.",
        figure=power_curve(material.judged),
        table=table,
    )


EXHIBITS: Exhibits = {120: _exhibit}
