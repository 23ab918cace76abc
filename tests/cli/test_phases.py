"""`indian-tune search --phase` and `--retry-failed`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.trial import TrialState

from indian_tune.ledger import LedgerReader, Phase, State
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration_check import departures

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.ledger import TrialRecord


def trials(storage: str, phase: Phase) -> list[TrialRecord]:
    with LedgerReader.open(storage) as ledger:
        return ledger.trials(ledger.study("tiny").id, phase=phase)


def test_the_phases_can_be_run_one_by_one(
    storage: str, tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]]
) -> None:
    assert search(tiny, "--phase", "tune")[0] == 0
    assert {trial.state for trial in trials(storage, Phase.TUNE)} == {State.COMPLETE}
    assert trials(storage, Phase.CONFIRM) == []
    assert search(tiny, "--phase", "freeze")[0] == 0
    assert {trial.state for trial in trials(storage, Phase.CONFIRM)} == {State.WAITING}
    assert search(tiny, "--phase", "confirm")[0] == 0
    assert {trial.state for trial in trials(storage, Phase.CONFIRM)} == {State.COMPLETE}


@pytest.mark.parametrize("phase", ["freeze", "confirm"])
def test_winners_are_not_chosen_before_all_trials_are_there(
    storage: str, tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]], phase: str
) -> None:
    status, _, err = search(tiny, "--phase", phase)
    assert status == 2
    assert "study 'tiny' has 4 tune trials left" in " ".join(err.split())
    assert "Run this first:" in err
    assert err.splitlines()[-1].endswith("--phase tune --engine inline")
    assert trials(storage, Phase.CONFIRM) == []


def broken_for(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from indian_tune.training import Run, Trainer

    add: Callable[[Trainer, Run], int] = Trainer.add

    def broken(self: Trainer, run: Run) -> int:
        if run.family == family:
            raise ZeroDivisionError("the model is broken")
        return add(self, run)

    monkeypatch.setattr(Trainer, "add", broken)


def test_failed_trials_are_tried_again_when_asked_for(
    storage: str, tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        broken_for("sgd", monkeypatch)
        status, _, err = search(tiny)
    assert status == 1
    assert "2 trials of study 'tiny' failed (sgd/0, sgd/1)" in err
    commands = [line for line in err.splitlines() if line.startswith("  indian-tune search")]
    assert ["--retry-failed" in line for line in commands] == [True, False]
    assert ["--freeze-anyway" in line for line in commands] == [False, True]
    configs = [trial.config for trial in trials(storage, Phase.TUNE)]
    for again in ((), ("--phase", "tune"), ("--phase", "freeze"), ("--phase", "confirm")):
        assert search(tiny, *again)[0] == 1
        assert trials(storage, Phase.CONFIRM) == []
    assert [trial.state for trial in trials(storage, Phase.TUNE)].count(State.FAILED) == 2
    assert search(tiny, "--retry-failed")[0] == 0
    after = trials(storage, Phase.TUNE)
    assert {trial.state for trial in after} == {State.COMPLETE}
    assert [trial.config for trial in after] == configs
    assert len(trials(storage, Phase.CONFIRM)) == 4
    told = optuna.load_study(study_name="tiny/sgd", storage=storage).trials
    assert [trial.state for trial in told] == [*[TrialState.FAIL] * 2, *[TrialState.COMPLETE] * 2]
    with LedgerReader.open(storage) as ledger:
        kinds = [event.kind for event in ledger.events(ledger.study("tiny").id)]
    assert (kinds.count("put back"), kinds.count("retried"), kinds.count("frozen")) == (2, 1, 1)


@pytest.mark.parametrize("options", [(), ("--phase", "freeze")])
def test_winners_are_chosen_among_the_others_when_that_is_asked_for_and_recorded(
    storage: str,
    tiny: dict[str, Any],
    search: Callable[..., tuple[int, str, str]],
    options: tuple[str, ...],
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        broken_for("sgd", monkeypatch)
        assert search(tiny)[0] == 1
    # A trial has failed still, so all is not well.
    status, _, err = search(tiny, "--freeze-anyway", *options)
    assert (status, "2 trials of study 'tiny' failed" in err) == (1, True)
    assert len(trials(storage, Phase.CONFIRM)) == 2
    with LedgerReader.open(storage) as ledger:
        study = RegisteredStudy.open(ledger, "tiny")
        (frozen,) = ledger.events(study.id, "frozen")
        assert departures(study) == ["the winners were frozen although 2 tune trials had failed"]
    assert frozen.data["passed_over"] == {"sgd": [0, 1]}


def test_a_grid_is_left_without_holes(
    storage: str, tiny: dict[str, Any], search: Callable[..., tuple[int, str, str]]
) -> None:
    tiny["search"] = {"sampler": "grid", "trials": 2}
    tiny["arms"] = [
        {"name": "sgd", "optimizer": "sgd", "space": {"gamma0": {"grid": [0.05, 0.1]}}},
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        broken_for("sgd", monkeypatch)
        search(tiny)
    assert {trial.state for trial in trials(storage, Phase.TUNE)} == {State.FAILED}
    assert search(tiny)[0] == 0
    after = trials(storage, Phase.TUNE)
    assert [(trial.state, trial.config) for trial in after] == [
        (State.COMPLETE, {"gamma0": 0.05}),
        (State.COMPLETE, {"gamma0": 0.1}),
    ]
