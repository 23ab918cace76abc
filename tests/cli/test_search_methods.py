"""Every sampler, every pruner and both modes, trained for real from the file to the winners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.trial import TrialState

from indian_tune.ledger import LedgerReader, Phase, State

if TYPE_CHECKING:
    from collections.abc import Callable

TOLD_AS = {
    State.COMPLETE: TrialState.COMPLETE,
    State.DIVERGED: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
}
GRID = {"gamma0": {"grid": [0.001, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5]}}


@pytest.mark.parametrize(
    ("sampler", "pruner", "seeds"),
    [
        ("grid", "none", 1),
        pytest.param("random", "percentile", 1, marks=pytest.mark.slow),
        ("random", "wilcoxon", 2),
        pytest.param("qmc", "hyperband", 1, marks=pytest.mark.slow),
        ("tpe", "median", 1),
        pytest.param("gp", "none", 1, marks=pytest.mark.slow),
        pytest.param("cmaes", "patient", 1, marks=pytest.mark.slow),
    ],
)
def test_every_trial_ends_and_optuna_knows_how(
    storage: str,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    sampler: str,
    pruner: str,
    seeds: int,
) -> None:
    tiny["search"] = {"sampler": sampler, "pruner": pruner, "trials": 8}
    tiny["protocol"] |= {"epochs": 3, "tune_epochs": 3, "tune_seeds": seeds}
    tiny["arms"] = [{"name": "sgd", "optimizer": "sgd"}]
    if sampler == "grid":
        tiny["arms"][0]["space"] = GRID
    assert search(tiny)[0] == 0
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        tune = ledger.trials(study.id, phase=Phase.TUNE)
        confirm = ledger.trials(study.id, phase=Phase.CONFIRM)
    told = {
        trial._trial_id: trial
        for trial in optuna.load_study(study_name="tiny/sgd", storage=storage).trials
    }
    assert len(tune) == len(told) == 8
    for trial in tune:
        assert trial.optuna_trial_id is not None
        shown = told[trial.optuna_trial_id]
        assert shown.state is TOLD_AS[trial.state]
        assert shown.params == trial.config
        if trial.state is not State.PRUNED:
            assert shown.value == trial.value
    # Confirm runs are never pruned.
    assert [trial.state for trial in confirm] == [State.COMPLETE] * 2
    best = min(t.value for t in tune if t.state is State.COMPLETE and t.value is not None)
    assert confirm[0].config in [trial.config for trial in tune if trial.value == best]


def test_a_replication_chooses_on_training_loss_without_a_validation_part(
    storage: str, tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]]
) -> None:
    tiny["protocol"]["mode"] = "paper"
    assert search(tiny)[0] == 0
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        runs = {run.id: run for run in ledger.study_runs(study.id, Phase.TUNE)}
        rows = ledger.study_epochs(study.id)
        values = {trial.id: trial.value for trial in ledger.trials(study.id, phase=Phase.TUNE)}
    assert {name for records in rows.values() for name in records[-1].metrics} == {
        *("train_loss", "train_accuracy")
    }
    last = {runs[run_id].trial_id: rows[run_id][-1].value("train_loss") for run_id in runs}
    assert last == values
