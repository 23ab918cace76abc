"""Budget curves: what searches of every size find, over searches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.estimates import CONFIDENCE, bounds
from indian_tune.analysis.trials import TRIAL, ends, trial_scores
from indian_tune.analysis.verdict import BudgetCurve

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.outcome import Outcome

# The curve shows the first of these that every trial with a score has.
METRICS = ("test_accuracy", "validation_accuracy")


def accuracies_found(
    search: pd.DataFrame, metrics: Sequence[str] = METRICS
) -> tuple[str, dict[str, NDArray[np.float64]]] | None:
    """Return the accuracy of the trial with the best score among the first b of its own search.

    It is that at the last epoch of the trial's runs, a mean over tuning seeds.

    Args:
        search: rows of the tune phase with a column ``replicate``.
        metrics: accuracies; the first that every trial with a score has is taken.

    Returns:
        The metric, and arm → [searches, trials], searches in the order of their numbers, NaN where
        no trial has a score yet; ``None`` where no metric is known.
    """
    last = ends(search)
    shown = [name for name in metrics if name in last and last[name].notna().any()]
    trials = trial_scores(search)
    means = last.groupby(TRIAL)[shown].mean()
    trials = trials[[*TRIAL, "score"]].join(means, on=TRIAL)
    scored = trials[np.isfinite(trials["score"])]
    metric = next((name for name in shown if scored[name].notna().all()), None)
    if metric is None:
        return None
    searches = sorted(trials["replicate"].unique())
    made = {}
    for arm, part in trials.groupby("arm", sort=False):
        score, value = (
            part.pivot(index="replicate", columns="trial", values=name)
            .reindex(searches)
            .to_numpy(float)
            for name in ("score", metric)
        )
        best = np.minimum.accumulate(np.where(np.isfinite(score), score, np.inf), axis=-1)
        # A later trial that is no better does not take the place of the first.
        before = np.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=np.inf)
        places = np.where(best < before, np.arange(score.shape[1]), 0)
        chosen = np.take_along_axis(value, np.maximum.accumulate(places, axis=-1), -1)
        made[str(arm)] = np.where(np.isfinite(best), chosen, np.nan)
    return metric, made


def as_measured(curves: Sequence[BudgetCurve], outcome: Outcome) -> tuple[BudgetCurve, ...]:
    """Return curves of scores as curves of the metric that runs are judged by."""
    if outcome.share:
        return tuple(curves)
    made = []
    for curve in curves:
        mean, low, high = (
            tuple(outcome.measured(score) for score in scores)
            for scores in (curve.mean, curve.low, curve.high)
        )
        if not outcome.greater_is_better:
            low, high = high, low
        name = outcome.column(curve.metric)
        made.append(replace(curve, metric=name, mean=mean, low=low, high=high))
    return tuple(made)


def budget_curves(search: pd.DataFrame) -> tuple[BudgetCurve, ...]:
    """Return the budget curve of every arm that was searched more than once, for any sampler.

    Its value at b trials is what :func:`accuracies_found` returns, a mean over searches: on the
    test examples where all trials have it, as they do in a study whose test results are open, and
    else on the validation examples. A search in which no trial has a score has no value; the curve
    begins where all others have one.

    Args:
        search: rows of the tune phase with a column ``replicate``; may be empty.
    """
    if search.empty or search.groupby("arm")["replicate"].nunique().max() < 2:
        return ()
    found = accuracies_found(search)
    if found is None:
        return ()
    metric, values = found
    curves = []
    for arm, table in values.items():
        known = table[np.isfinite(table).any(-1)]
        if len(known) < 2:
            continue
        start = int(np.isfinite(known).all(0).argmax())
        level = (1 - CONFIDENCE) / 2
        made = bounds(known[:, start:].T, level, level)
        curves.append(
            BudgetCurve(
                arm,
                metric,
                len(known),
                tuple(range(start + 1, table.shape[1] + 1)),
                *(tuple(each.tolist()) for each in (made.mean, made.low, made.high)),
            )
        )
    return tuple(curves)
