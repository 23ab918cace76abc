"""What a search of every size finds: test accuracy of the best trial on validation so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import phase_rows, styles_of
from indian_tune.analysis.style import canvas, percent_label, tidy
from indian_tune.analysis.trials import trial_scores
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material


def budget_table(frame: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Return the test accuracy that a search of b trials finds, over searches.

    Args:
        frame: one row per run and epoch; the tune phase of at least two searches is used.
        confidence: of the two-sided t interval of the mean over searches.

    Returns:
        Columns arm, trials, mean, low, high (shares) and searches.

    Raises:
        NoDataError: there are fewer than two searches, or the test results of trials are not there.
    """
    rows = phase_rows(frame, "tune")
    if "replicate" not in rows or rows["replicate"].nunique() < 2:
        raise NoDataError("a budget curve needs at least two searches of an arm")
    if "test_accuracy" not in rows or rows["test_accuracy"].isna().all():
        raise NoDataError("the test results of the trials are not in the frame")
    found = []
    for (arm, _), part in rows.groupby(["arm", "replicate"], sort=False):
        trials = trial_scores(part)
        last = part.loc[part.groupby(["trial", "seed"])["epoch"].idxmax()]
        by_trial = trials["trial"].map(last.groupby("trial")["test_accuracy"].mean())
        score, test = trials["score"].to_numpy(float), by_trial.to_numpy(float)
        best = -1
        for b in range(len(score)):
            if np.isfinite(score[b]) and (best < 0 or score[b] < score[best]):
                best = b
            if best >= 0:
                found.append((arm, b + 1, test[best]))
    table = pd.DataFrame(found, columns=["arm", "trials", "value"])
    made = table.groupby(["arm", "trials"], sort=False)["value"].agg(["mean", "std", "count"])
    half = stats.t.ppf((1 + confidence) / 2, np.maximum(made["count"] - 1, 1)) * (
        made["std"] / np.sqrt(made["count"])
    )
    made = made.assign(low=made["mean"] - half, high=made["mean"] + half, searches=made["count"])
    return made.reset_index()[["arm", "trials", "mean", "low", "high", "searches"]]


def budget_curve(frame: pd.DataFrame) -> Figure:
    """Draw the test accuracy found by searches of every size, with the interval of its mean.

    Raises:
        NoDataError: there are fewer than two searches, or the test results of trials are not there.
    """
    table = budget_table(frame)
    styles = styles_of(frame)
    figure = canvas(3.6)
    axes = figure.subplots()
    for arm, line in table.groupby("arm", sort=False):
        style = styles[str(arm)]
        axes.plot(
            line["trials"],
            100 * line["mean"],
            color=style.color,
            linestyle=style.dashes,
            linewidth=1.5,
            label=str(arm),
        )
        axes.fill_between(
            line["trials"],
            100 * line["low"],
            100 * line["high"],
            color=style.color,
            alpha=0.12,
            linewidth=0,
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel("trials of the search")
    axes.set_ylabel(percent_label("test_accuracy"))
    tidy(axes)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _exhibit(material: Material) -> Exhibit:
    table = budget_table(material.frame)
    said = "; ".join(
        f"{row['arm']} reaches {100 * row['mean']:.2f} % with {row['trials']} trials"
        for row in table.groupby("arm", sort=False).tail(1).to_dict("records")
    )
    return Exhibit(
        name="budget-curve",
        title="What more trials bring",
        caption="Test accuracy of the trial that is best on validation among the first of its own "
        "search; means over searches, bands are 95 % intervals. Where a curve still rises, its arm "
        "is not tuned to its end.",
        alt=f"Test accuracy over trials. {said}.",
        figure=budget_curve(material.frame),
        table=table,
    )


EXHIBITS: Exhibits = {30: _exhibit}
