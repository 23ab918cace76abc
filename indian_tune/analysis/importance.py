"""Descriptive: which hyperparameters mattered in a search, by Optuna's evaluators."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd

from indian_tune.analysis.verdict import Importance

# Fewer trials say nothing about importance.
FEWEST_TRIALS = 10
# A hyperparameter whose values span more than this factor is read on a log scale.
LOG_SPAN = 10.0
# Optuna grows 64 trees of any depth, which takes minutes for a few hundred trials.
FANOVA_TREES, FANOVA_DEPTH = 16, 6
METHODS: tuple[Literal["PED-ANOVA", "fANOVA"], ...] = ("PED-ANOVA", "fANOVA")
# What is known of a run besides its hyperparameters.
_NOT_HYPERPARAMETERS = (
    *("study", "arm", "optimizer", "phase", "trial", "trial_state", "run_state", "seed", "epoch"),
    *("step", "seconds", "train_loss", "train_accuracy", "validation_loss"),
    *("validation_accuracy", "test_loss", "test_accuracy"),
)


def importances(search: pd.DataFrame) -> tuple[Importance, ...]:
    """Return how much each hyperparameter mattered for the score of every arm's trials.

    The score of a trial is its last validation accuracy, or minus its last training loss where
    there is no validation part; the mean over its seeds. Trials without a finite score are left
    out: importance describes those that trained.

    Args:
        search: rows of the tune phase, with a column per hyperparameter; may be empty.
    """
    made = []
    for arm in dict.fromkeys(search["arm"]) if len(search) else ():
        table, names = _trials(search[search["arm"] == arm])
        # Scores that are all alike leave nothing to explain.
        if len(table) >= FEWEST_TRIALS and len(names) > 1 and table["_score"].nunique() > 1:
            made += [_evaluate(str(arm), table, names, method) for method in METHODS]
    return tuple(made)


def _trials(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a row per trial with its score and its hyperparameters, and their names."""
    last = rows.sort_values("epoch").groupby(["trial", "seed"], as_index=False).tail(1)
    validated = "validation_accuracy" in last and last["validation_accuracy"].notna().any()
    score = last["validation_accuracy"] if validated else -last["train_loss"]
    names = [
        str(name)
        for name in rows
        if name not in _NOT_HYPERPARAMETERS
        and pd.api.types.is_numeric_dtype(rows[name])
        and rows[name].notna().all()
        and rows[name].nunique() > 1
    ]
    table = last.assign(_score=score).groupby("trial")[["_score", *names]].mean()
    return table[np.isfinite(table["_score"])], names


def _evaluate(
    arm: str, table: pd.DataFrame, names: list[str], method: Literal["PED-ANOVA", "fANOVA"]
) -> Importance:
    import optuna
    from optuna.distributions import FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    distributions = {}
    for name in names:
        low, high = float(table[name].min()), float(table[name].max())
        log = low > 0 and high / low > LOG_SPAN
        distributions[name] = FloatDistribution(low, high, log=log)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: float(row[name]) for name in names},
                    distributions=dict(distributions),
                    value=float(row["_score"]),
                )
                for _, row in table.iterrows()
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
    return Importance(arm, method, tuple((n, float(v)) for n, v in ordered), len(table))
