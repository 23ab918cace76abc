"""The 2×2×2 design: what tuning (α, β) adds beside dropout and weight decay."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from indian_tune.analysis.estimates import CONFIDENCE
from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import measured_rows, outcome_of, phase_rows
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import DASHES, MARKERS, canvas, legend, shade, tidy
from indian_tune.analysis.trials import ends
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.study.hypotheses import Factorial


def factorial_table(
    frame: pd.DataFrame, design: Factorial, *, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """Return the final accuracy of every cell.

    Args:
        frame: one row per run and epoch; the confirm phase is used, without runs that diverged.
        design: which arm is which cell.
        confidence: of the two-sided t interval of the mean over seeds.

    Returns:
        Columns arm, tuned, dropout, weight_decay, mean, low, high (shares, or the metric of another
        task) and runs.

    Raises:
        NoDataError: a cell has no run.
    """
    rows = phase_rows(frame, "confirm")
    outcome = outcome_of(rows)
    last = measured_rows(ends(rows), outcome)
    cells = []
    for cell in design.cells:
        part = last[(last["arm"] == cell.arm) & ~last["diverged"]][outcome]
        if part.empty:
            raise NoDataError(f"arm {cell.arm!r}, a cell of the design, has no finished run")
        half = np.nan
        if len(part) > 1:
            half = stats.t.ppf((1 + confidence) / 2, len(part) - 1) * part.sem()
        mean = part.mean()
        cells.append(
            {
                "arm": cell.arm,
                "tuned": cell.tuned,
                "dropout": cell.dropout,
                "weight_decay": cell.weight_decay,
                "mean": mean,
                "low": mean - half,
                "high": mean + half,
                "runs": len(part),
            }
        )
    return pd.DataFrame(cells)


def interactions(frame: pd.DataFrame, design: Factorial) -> Figure:
    """Draw the cells as lines from the default to the tuned (α, β), one per pair of regularizers.

    Bars are 95 % intervals of the mean over seeds. Parallel lines mean that the effects add up.

    Args:
        frame: one row per run and epoch; the confirm phase is drawn.
        design: which arm is which cell.

    Raises:
        NoDataError: a cell has no run.
    """
    table = factorial_table(frame, design)
    figure = canvas(3.6)
    axes = figure.subplots()
    scale = judged_by(frame).scale
    for place, (dropout, decay) in enumerate(product((False, True), repeat=2)):
        line = table[(table["dropout"] == dropout) & (table["weight_decay"] == decay)]
        line = line.sort_values("tuned")
        at = np.array([0.0, 1.0]) + 0.03 * (place - 1.5)
        mean, low, high = (scale * line[name].to_numpy() for name in ("mean", "low", "high"))
        axes.errorbar(
            at,
            mean,
            yerr=[mean - low, high - mean],
            color=shade(0.5 if dropout else 0.8),
            linestyle=DASHES[1 if decay else 0],
            marker=MARKERS[place],
            markersize=5,
            linewidth=1.5,
            elinewidth=0.9,
            label=f"dropout {'on' if dropout else 'off'}, weight decay {'on' if decay else 'off'}",
        )
    axes.set_xticks([0, 1], ["default (α, β)", "tuned (α, β)"])
    axes.set_xlim(-0.25, 1.25)
    axes.set_ylabel(judged_by(frame).label(outcome_of(phase_rows(frame, "confirm"))))
    tidy(axes)
    legend(figure)
    return figure


def _exhibit(material: Material) -> Exhibit:
    if material.claims.h4 is None or not material.claims.h4.cells:
        raise NoDataError("the study has no factorial design")
    table, outcome = factorial_table(material.frame, material.claims.h4), judged_by(material.frame)
    said = "; ".join(
        f"{'tuned' if row['tuned'] else 'default'}, dropout {_on(row['dropout'])}, weight decay "
        f"{_on(row['weight_decay'])}: {outcome.text(row['mean'])}"
        for row in table.to_dict("records")
    )
    return Exhibit(
        name="factorial",
        title="With dropout and weight decay",
        caption=f"Final {outcome.title} with default and tuned (α, β), one line per combination of "
        f"the two usual regularizers, with 95 % intervals. A {outcome.better} line is a gain "
        "from tuning. Parallel lines mean that this gain adds to the others; a flatter line "
        "means that the others give part of it already.",
        alt=f"Mean {outcome.title}: {said}.",
        figure=interactions(material.frame, material.claims.h4),
        table=table,
    )


def _on(value: bool) -> str:
    return "on" if value else "off"


EXHIBITS: Exhibits = {80: _exhibit}
