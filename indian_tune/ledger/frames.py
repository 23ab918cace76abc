"""Tidy data frames of a study, for the analysis. Loads pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from indian_tune.ledger.states import Phase

if TYPE_CHECKING:
    from indian_tune.ledger.reader import LedgerReader


def epoch_frame(ledger: LedgerReader, study_id: int, phase: Phase | None = None) -> pd.DataFrame:
    """Return the open metrics of a study, one row per run and epoch.

    Columns: study, arm, optimizer, phase, trial, trial_state, run_state, seed, epoch, step,
    train_loss, train_accuracy, validation_loss, validation_accuracy, seconds, and one column per
    hyperparameter. Losses are mean cross-entropies, accuracies shares in [0, 1]; NaN where a
    value was not finite. Nothing sealed is in it, nor what a winner did on the fresh seeds that was
    overtaken after an extension of the study.

    Args:
        ledger: to read from.
        study_id: of the study.
        phase: which phase; both by default.
    """
    studies = {study.id: study.name for study in ledger.studies()}
    arms = {arm.id: arm for arm in ledger.arms(study_id)}
    chosen = [] if phase is Phase.CONFIRM else ledger.trials(study_id, phase=Phase.TUNE)
    chosen += [] if phase is Phase.TUNE else ledger.confirms(study_id)
    trials = {trial.id: trial for trial in chosen}
    runs = {run.id: run for run in ledger.study_runs(study_id, phase)}
    rows = []
    for row in ledger.study_epochs(study_id, phase):
        run = runs[row.run_id]
        trial = trials.get(run.trial_id)
        if trial is None:
            continue
        arm = arms[trial.arm_id]
        rows.append(
            {
                "study": studies[study_id],
                "arm": arm.name,
                "optimizer": arm.optimizer,
                "phase": str(trial.phase),
                "trial": trial.index,
                "trial_state": str(trial.state),
                "run_state": str(run.state),
                "seed": run.seed,
                "epoch": row.epoch,
                "step": row.step,
                "train_loss": row.train_loss,
                "train_accuracy": row.train_accuracy,
                "validation_loss": row.validation_loss,
                "validation_accuracy": row.validation_accuracy,
                "seconds": row.seconds,
                **(trial.config or {}),
            }
        )
    columns = [
        *("study", "arm", "optimizer", "phase", "trial", "trial_state", "run_state", "seed"),
        *("epoch", "step", "train_loss", "train_accuracy", "validation_loss"),
        *("validation_accuracy", "seconds"),
    ]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
    metrics = columns[columns.index("train_loss") :]
    return frame.astype(dict.fromkeys(metrics, "float64"))
