"""Whole studies, trained for real through every engine."""

from __future__ import annotations

import math
import os
import signal
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.trial import TrialState

from indian_tune.engines.interrupt import Interrupt, interruptible
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine, train
from indian_tune.engines.session import (
    artifacts_folder,
    note_start,
    open_session,
    study_folder,
)
from indian_tune.errors import EngineError, InputError
from indian_tune.ledger import LedgerReader, State, storage_url
from indian_tune.study.file.spec import parse_study
from tests.engines.pacing import looking, train_paced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.file.spec import StudySpec
    from tests.engines.conftest import Metrics

    Settings = Callable[..., WorkerSettings]
    Register = Callable[[str, dict[str, Any]], StudySpec]
    Record = Callable[..., Metrics]


def nothing() -> None:
    return None


def test_a_study_runs_to_its_end_and_leaves_nothing_behind(
    storage: str, tmp_path: Path, tiny: dict[str, Any], settings_for: Settings, register: Register
) -> None:
    register(storage, tiny)
    ticks: list[None] = []
    InlineEngine(settings_for(storage)).run(Interrupt(), lambda: ticks.append(None))
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        trials = ledger.trials(study.id)
        assert [trial.state for trial in trials] == [State.COMPLETE] * 8
        runs = ledger.study_runs(study.id)
        assert [run.epochs_done for run in runs] == [2] * 8
        assert {str((run.provenance or {})["device"]) for run in runs} == {"cpu"}
        (worker,) = ledger.workers(study.id)
        assert worker.left_at is not None
        epochs = [each for run in ledger.study_epochs(study.id).values() for each in run]
    assert len(epochs) == len(ticks) == 16
    assert all(0 < epoch.metrics["train_loss"] < 10 for epoch in epochs)
    assert not [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_final_weights_are_kept_if_asked_for_and_are_the_same_however_they_came_about(
    tmp_path: Path,
    keeping: dict[str, Any],
    kept_weights: Callable[[], list[tuple[int, str]]],
    settings_for: Settings,
    register: Register,
) -> None:
    found = []
    for name in ("inline", "interrupted", "processes"):
        storage = f"sqlite:///{tmp_path / name}.db"
        register(storage, keeping)
        slot = settings_for(storage)
        engine = ProcessEngine([slot, slot]) if name == "processes" else InlineEngine(slot)
        interrupted = name == "interrupted"
        while interrupted:
            interrupt = Interrupt()

            def stop(interrupt: Interrupt = interrupt) -> None:
                interrupt.requests = 1

            engine.run(interrupt, stop)
            interrupted = interrupt.requested
        engine.run(Interrupt(), nothing)
        found.append(kept_weights())
    assert [epoch for epoch, _ in found[0]] == [2] * 4, "2 winners on 2 seeds; none of the search"
    assert len({digest for _, digest in found[0]}) == 4
    assert found[1:] == found[:1] * 2


def test_an_interrupted_study_goes_on_to_the_same_record(
    storage: str,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    settings_for: Settings,
    register: Register,
    metrics: Record,
) -> None:
    register(storage, tiny)
    engine = InlineEngine(settings_for(storage))
    # Stop in the middle of a trial, after every single epoch.
    rounds = 0
    while True:
        interrupt = Interrupt()

        def stop(interrupt: Interrupt = interrupt) -> None:
            interrupt.requests = 1

        engine.run(interrupt, stop)
        if not interrupt.requested:
            break
        rounds += 1
    assert rounds == 16
    assert metrics(storage) == undisturbed
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
    assert {trial.attempts for trial in trials} == {1}
    for arm in ("indian", "sgd"):
        told = optuna.load_study(study_name=f"tiny/{arm}", storage=storage).trials
        assert [trial.state for trial in told] == [TrialState.COMPLETE] * 2


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_trial_continued(
    storage: str,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    settings_for: Settings,
    register: Register,
    metrics: Record,
) -> None:
    register(storage, tiny)
    killed: list[int] = []

    def kill_once_training() -> None:
        if killed:
            return
        with LedgerReader.open(storage) as ledger:
            study = ledger.study("tiny")
            if ledger.study_epochs(study.id):
                (worker,) = ledger.workers(study.id)
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    settings = settings_for(storage)
    tick = looking(settings, kill_once_training)
    ProcessEngine([settings], train_paced).run(Interrupt(), tick)
    assert len(killed) == 1
    assert metrics(storage) == undisturbed
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
    assert {trial.state for trial in trials} == {State.COMPLETE}


def test_a_diverging_configuration_ends_as_diverged_and_the_study_goes_on(
    storage: str, tiny: dict[str, Any], settings_for: Settings, register: Register
) -> None:
    tiny["arms"][0]["space"] = {"gamma0": {"choices": [1e30, 2e30]}}
    register(storage, tiny)
    InlineEngine(settings_for(storage)).run(Interrupt(), nothing)
    with LedgerReader.open(storage) as ledger:
        indian, sgd, confirm = ledger.progress(ledger.study("tiny").id)
    assert indian.counts == {State.DIVERGED: 2}
    assert sgd.counts == {State.COMPLETE: 2}
    assert (confirm.arm.name, confirm.counts) == ("sgd", {State.COMPLETE: 2})
    told = optuna.load_study(study_name="tiny/indian", storage=storage).trials
    assert [(trial.state, trial.value) for trial in told] == [(TrialState.COMPLETE, 0.9)] * 2


def test_a_trial_that_raises_is_tried_again_and_then_fails_with_its_traceback(
    storage: str,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings_for: Settings,
    register: Register,
) -> None:
    from indian_tune.training import Run, Trainer

    add: Callable[[Trainer, Run], int] = Trainer.add

    def broken(self: Trainer, run: Run) -> int:
        if run.family == "sgd":
            raise ZeroDivisionError("the model is broken")
        return add(self, run)

    monkeypatch.setattr(Trainer, "add", broken)
    register(storage, tiny)
    InlineEngine(settings_for(storage)).run(Interrupt(), nothing)
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        failed = ledger.trials(study.id, states=(State.FAILED,))
        assert [(trial.attempts, trial.reason) for trial in failed] == [
            (3, "ZeroDivisionError: the model is broken")
        ] * 2
        (run,) = ledger.runs(failed[0].id)
        assert run.error is not None
        assert "in broken" in run.error
    told = optuna.load_study(study_name="tiny/sgd", storage=storage).trials
    assert [trial.state for trial in told] == [TrialState.FAIL] * 2
    assert "sgd/0: an attempt failed, the trial has failed" in caplog.text


def test_a_worker_that_cannot_start_ends_the_engine_with_an_error(
    storage: str, tiny: dict[str, Any], settings_for: Settings, register: Register
) -> None:
    register(storage, tiny)
    with pytest.raises(InputError, match="a worker could not start"):
        ProcessEngine([settings_for(storage, study="absent")]).run(Interrupt(), nothing)


def die_at_once(_settings: WorkerSettings, _should_stop: Callable[[], bool]) -> None:
    """What a worker does where CUDA, say, takes the process with it."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_training(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """What a worker does where memory runs out."""
    from indian_tune.training import Trainer

    def advance(_trainer: Trainer, _keys: object = None) -> list[Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    Trainer.advance = advance  # type: ignore[method-assign, assignment]
    train(settings, should_stop)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "failed"),
    [pytest.param(die_at_once, 0, marks=pytest.mark.night), (die_in_training, 1)],
)
def test_workers_that_always_die_end_the_search_and_lose_nothing(
    job: Callable[[WorkerSettings, Callable[[], bool]], None],
    failed: int,
    storage: str,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    settings_for: Settings,
    metrics: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However long a busy machine takes to start six workers.
    monkeypatch.setattr("indian_tune.engines.local.processes.MINUTE_SECONDS", math.inf)
    spec = parse_study(tiny, source="study.toml")
    slot = settings_for(storage)
    with open_session(spec, storage_url(storage), None) as session:
        with pytest.raises(EngineError, match=r"6 workers died within a minute, .* status -9"):
            ProcessEngine([slot], job=job).run(Interrupt(), nothing)
        trials = session.ledger.trials(session.id)
        # A trial is tried three times before it is held to be what kills its workers.
        assert sum(trial.state is State.FAILED for trial in trials) == failed
        assert not session.ledger.study_epochs(session.id)
    with open_session(spec, storage_url(storage), None, retry_failed=True):
        ProcessEngine([slot]).run(Interrupt(), nothing)
    assert metrics(storage) == undisturbed


def test_the_first_signal_asks_and_the_second_stops() -> None:
    told: list[None] = []
    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.getsignal(signal.SIGINT)
    with interruptible(lambda: told.append(None)) as interrupt:
        assert signal.getsignal(signal.SIGINT) is not before
        signal.raise_signal(signal.SIGINT)
        assert (interrupt.requested, len(told)) == (True, 1)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before


def test_checkpoints_lie_beside_the_database_or_where_we_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sqlite = storage_url(f"sqlite:///{tmp_path / 'deep' / 'study.db'}")
    server = storage_url("postgresql+psycopg://host/studies")
    assert artifacts_folder(sqlite) == tmp_path / "deep" / "indian-tune-artifacts"
    assert artifacts_folder(server) == tmp_path / "indian-tune-artifacts"


def test_a_study_keeps_its_folder_of_checkpoints(
    tmp_path: Path, tiny: dict[str, Any], storage: str
) -> None:
    url, chosen = storage_url(storage), tmp_path / "chosen"
    usual = artifacts_folder(url)
    assert study_folder(url, "tiny") == usual
    with open_session(parse_study(tiny, source="test"), url, None) as session:
        assert study_folder(url, "tiny") == usual
        note_start(session.ledger, session.record, chosen)
    # The file and its folder were moved together.
    assert study_folder(url, "tiny") == usual
    chosen.mkdir()
    assert study_folder(url, "tiny") == chosen
    assert study_folder(url, "other") == usual
