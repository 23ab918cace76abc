"""Descriptive: which hyperparameters mattered in a search, by Optuna's evaluators."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from indian_tune.analysis.trials import trial_scores
from indian_tune.analysis.verdict import Importance
from indian_tune.columns import config_columns, hyperparameter
from indian_tune.optim.hyperparameters import is_number

if TYPE_CHECKING:
    import pandas as pd
    from optuna.distributions import BaseDistribution

# Fewer trials say nothing about importance.
FEWEST_TRIALS = 10
# A hyperparameter whose values span more than this factor is read on a log scale.
LOG_SPAN = 10.0
# Optuna grows 64 trees of any depth, which takes minutes for a few hundred trials.
FANOVA_TREES, FANOVA_DEPTH = 16, 6
METHODS: tuple[Literal["PED-ANOVA", "fANOVA"], ...] = ("PED-ANOVA", "fANOVA")


def importances(search: pd.DataFrame) -> tuple[Importance, ...]:
    """Return how much each hyperparameter mattered for the score of every arm's trials.

    The score is that by which winners are chosen, see ``trial_scores``. Trials without one are left
    out: importance describes those that were trained to their end.

    Args:
        search: from :func:`~indian_tune.analysis.frame.trial_rows`; may be empty.
    """
    if search.empty:
        return ()
    made = []
    for arm, trials in trial_scores(search).groupby("arm", sort=False):
        table = trials[np.isfinite(trials["score"])]
        searched = [
            column
            for column in config_columns(table.columns)
            if table[column].notna().all() and table[column].nunique() > 1
        ]
        # Scores that are all alike leave nothing to explain.
        if len(table) >= FEWEST_TRIALS and len(searched) > 1 and table["score"].nunique() > 1:
            made += [_evaluate(str(arm), table, searched, method) for method in METHODS]
    return tuple(made)


def _evaluate(
    arm: str, table: pd.DataFrame, names: list[str], method: Literal["PED-ANOVA", "fANOVA"]
) -> Importance:
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    distributions: dict[str, BaseDistribution] = {}
    values = {name: table[name].tolist() for name in names}
    for name in names:
        if not all(map(is_number, values[name])):
            # Truth values and texts have no order, and a table may hold both.
            values[name] = [str(value) for value in values[name]]
            distributions[name] = CategoricalDistribution(sorted(set(values[name])))
            continue
        low, high = float(table[name].min()), float(table[name].max())
        log = low > 0 and high / low > LOG_SPAN
        distributions[name] = FloatDistribution(low, high, log=log)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="minimize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: values[name][place] for name in names},
                    distributions=dict(distributions),
                    value=float(score),
                )
                for place, score in enumerate(table["score"])
            ]
        )
        evaluator = (
            PedAnovaImportanceEvaluator()
            if method == "PED-ANOVA"
            else FanovaImportanceEvaluator(n_trees=FANOVA_TREES, max_depth=FANOVA_DEPTH, seed=0)
        )
        with warnings.catch_warnings():
            # Evaluators call themselves experimental, and remark on scores that are all equal.
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    named = tuple((hyperparameter(column), float(share)) for column, share in ordered)
    return Importance(arm, method, named, len(table), str(table["objective"].iloc[0]))
