"""Best score so far over the budget of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import (
    is_rising,
    measured_scores,
    phase_rows,
    score_axis,
    styles_of,
)
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import canvas, legend, plain_log_ticks, tidy
from indian_tune.analysis.trials import trial_scores
from indian_tune.errors import NoDataError
from indian_tune.study.description import judged_words

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material


def best_so_far_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the best score of every search after each of its trials, in the order of the budget.

    The scores are those of ``trial_scores``; a trial without one counts in the budget and wins
    nothing.

    Args:
        frame: one row per run and epoch; the tune phase is used.

    Returns:
        Columns arm, replicate, trial, epochs (trained by the search up to the end of the trial),
        score, best and objective (what the score is of). Where a metric is to be large, scores are
        the metric itself, and objective is its column, "validation_f1".

    Raises:
        NoDataError: the frame has no tune phase, or no trial of it has a score.
    """
    trials = trial_scores(phase_rows(frame, "tune"))
    if trials["score"].isna().all():
        raise NoDataError("no trial of the tune phase has a score")
    by_search = trials.groupby(["arm", "replicate"], sort=False)
    made = trials.assign(
        epochs=by_search["epochs"].cumsum(),
        best=by_search["score"].transform(lambda scores: scores.cummin().ffill()),
    )
    made = made[["arm", "replicate", "trial", "epochs", "score", "best", "objective"]]
    return measured_scores(made, ["score", "best"], judged_by(frame))


def best_so_far(frame: pd.DataFrame) -> Figure:
    """Draw the best score of every arm against the epochs that a search has trained.

    Of several searches of an arm the mean is drawn, from where each of them has a score.

    Args:
        frame: one row per run and epoch; the tune phase is drawn.

    Raises:
        NoDataError: the frame has no tune phase, or no trial of it has a score.
    """
    table = best_so_far_table(frame)
    styles = styles_of(frame)
    outcome = judged_by(frame)
    name, scale = score_axis(table["objective"].iloc[0], outcome)
    figure = canvas(3.4)
    axes = figure.subplots()
    for arm, rows in table.groupby("arm", sort=False):
        style = styles[str(arm)]
        searches = rows.pivot_table(index="epochs", columns="replicate", values="best")
        best = scale * searches.ffill().dropna().mean(axis=1)
        if best.empty:
            continue
        axes.step(
            best.index,
            best,
            where="post",
            color=style.color,
            linestyle=style.dashes,
            label=str(arm),
        )
        # The last trial's gain has no line after it.
        axes.plot(best.index[-1], best.iloc[-1], style.marker, color=style.color, ms=4)
    if (table["best"] > 0).any() and not is_rising(table, outcome):
        axes.set_yscale("log")
        plain_log_ticks(axes.yaxis)
    axes.set_xlim(left=0)
    axes.set_xlabel("epochs trained by a search")
    axes.set_ylabel(f"best {name} so far")
    tidy(axes)
    legend(figure)
    return figure


def _exhibit(material: Material) -> Exhibit:
    table, outcome = best_so_far_table(material.frame), judged_by(material.frame)
    moves = "rises" if is_rising(table, outcome) else "falls"
    last = table.groupby(["arm", "replicate"], sort=False).tail(1).groupby("arm", sort=False)
    said = "; ".join(
        f"{arm} {_best(rows['best'])} after {rows['epochs'].mean():g} epochs"
        + f", the mean of {len(rows)} searches" * (len(rows) > 1)
        for arm, rows in last
    )
    return Exhibit(
        name="best-so-far",
        title="Best score so far",
        caption="The best score so far against the epochs that a search has trained; of several "
        f"searches of an arm the mean. All had the same budget. A line that still {moves} at "
        "its end suggests that a larger budget would find better configurations.",
        alt=f"Best {judged_words(table['objective'].iloc[0], outcome)}: {said}.",
        figure=best_so_far(material.frame),
        table=table,
    )


def _best(scores: pd.Series[float]) -> str:
    return "none" if scores.isna().all() else f"{scores.mean():.4g}"


EXHIBITS: Exhibits = {100: _exhibit}
