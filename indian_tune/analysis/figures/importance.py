"""Which hyperparameters mattered in the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.style import INK, PALE, canvas, legend, tidy, title
from indian_tune.errors import NoDataError
from indian_tune.study.description import judged_words
from indian_tune.text import SYMBOLS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.analysis.verdict import Verdict

COLORS = {"PED-ANOVA": INK, "fANOVA": PALE}


def importance_table(verdict: Verdict) -> pd.DataFrame:
    """Return the share of every hyperparameter of every arm that searched more than one.

    Returns:
        Columns arm, method, hyperparameter, share, trials and objective (what the score is of).

    Raises:
        NoDataError: there are none.
    """
    rows = [
        {
            "arm": each.arm,
            "method": each.method,
            "hyperparameter": name,
            "share": share,
            "trials": each.trials,
            "objective": each.objective,
        }
        for each in verdict.importances
        if len(each.shares) > 1
        for name, share in each.shares
    ]
    if not rows:
        raise NoDataError("no arm searched more than one hyperparameter")
    return pd.DataFrame(rows)


def importances(verdict: Verdict) -> Figure:
    """Draw the importance of every hyperparameter as bars, a panel per arm; descriptive.

    Raises:
        NoDataError: no arm searched more than one hyperparameter.
    """
    table = importance_table(verdict)
    groups = list(table.groupby("arm", sort=False))
    sizes = [part["hyperparameter"].nunique() for _, part in groups]
    figure = canvas(0.8 + 0.28 * sum(sizes) + 0.2 * len(groups))
    panels = figure.subplots(len(groups), 1, squeeze=False, sharex=True, height_ratios=sizes)
    for axes, (arm, part) in zip(panels.flat, groups, strict=True):
        wide = part.pivot(index="hyperparameter", columns="method", values="share")
        wide = wide.sort_values(wide.columns[-1])
        methods = list(wide.columns)
        height = 0.8 / len(methods)
        for place, method in enumerate(methods):
            axes.barh(
                [k + height * (place - (len(methods) - 1) / 2) for k in range(len(wide))],
                wide[method],
                height=height,
                color=COLORS[method],
                label=method,
            )
        axes.set_yticks(range(len(wide)), [SYMBOLS.get(name, name) for name in wide.index])
        title(axes, f"{arm} ({part['trials'].iloc[0]} trials)")
        tidy(axes)
    words = judged_words(table["objective"].iloc[0], verdict.scope.judged)
    panels[-1, 0].set_xlabel(f"share of the variation\nof the {words} that it explains")
    legend(figure)
    return figure


def _exhibit(material: Material) -> Exhibit:
    table = importance_table(material.judged)
    said = "; ".join(
        f"{row['arm']}, {row['method']}: {row['hyperparameter']} {row['share']:.2f}"
        for row in table.to_dict("records")
    )
    return Exhibit(
        name="importance",
        title="Which hyperparameters mattered",
        caption="The share of the variation of the score between trials that each hyperparameter "
        "explains, by two methods. Descriptive: it depends on the ranges that were searched.",
        alt=f"Importance: {said}.",
        figure=importances(material.judged),
        table=table,
    )


EXHIBITS: Exhibits = {110: _exhibit}
