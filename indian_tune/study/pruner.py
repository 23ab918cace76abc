"""Pruners: a name in a study file → an Optuna pruner."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import optuna

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

# Trials that must have finished before the median or the percentile of their curves is a measure.
STARTUP_TRIALS = 4
# Hyperband keeps one trial in this many at each rung.
REDUCTION_FACTOR = 3
# Epochs without an improvement that the patient pruner waits for.
PATIENCE = 2


def make_pruner(name: str, *, epochs: int) -> BasePruner:
    """Return the pruner for the tune phase of an arm.

    Args:
        name: one of the names that a study file allows.
        epochs: length of a tune run, which is the largest resource.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "none":
                return optuna.pruners.NopPruner()
            case "median":
                return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
            case "percentile":
                return optuna.pruners.PercentilePruner(25.0, n_startup_trials=STARTUP_TRIALS)
            case "hyperband":
                return optuna.pruners.HyperbandPruner(
                    min_resource=1, max_resource=epochs, reduction_factor=REDUCTION_FACTOR
                )
            case "wilcoxon":
                return optuna.pruners.WilcoxonPruner()
            case "patient":
                median = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
                return optuna.pruners.PatientPruner(median, patience=PATIENCE)
    raise AssertionError(f"a pruner {name!r} passed the study file's validation")
