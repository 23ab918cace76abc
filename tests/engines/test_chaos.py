"""Workers that die at the worst of times leave the record of a study that nothing disturbed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
import tomllib
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from optuna.trial import TrialState

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.process_info import is_dead
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import LedgerReader, State, storage_url
from indian_tune.study.faults import FAULTS, VARIABLE
from indian_tune.study.file.spec import parse_study
from tests.engines.pacing import looking, train_paced
from tests.simulation.checker import read_rows, violations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engines.conftest import Metrics

    Settings = Callable[..., WorkerSettings]
    Record = Callable[..., Metrics]

EPOCHS_BETWEEN_KILLS = 7
# One of each kind of write: claiming, asking, recording and ending.
MOST_TELLING = {"after-optuna-ask", "after-ledger-epoch", "after-ledger-finish", "after-freeze"}


def assert_sound(storage: str, parts: dict[str, int]) -> None:
    """Check a finished study: every trial once in the ledger and once in Optuna."""
    assert violations(read_rows(storage)) == []
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        trials = ledger.trials(study.id)
        runs = ledger.study_runs(study.id)
        epochs = ledger.study_epochs(study.id)
    assert len(trials) == sum(parts.values())
    assert {trial.state for trial in trials} == {State.COMPLETE}
    assert all(trial.told for trial in trials)
    assert sum(map(len, epochs.values())) == sum(run.epochs_planned for run in runs)
    shown: dict[int, int] = {}
    rdb = optuna.storages.RDBStorage(storage)
    told = {
        part: optuna.load_study(study_name=f"tiny/{part}", storage=rdb).trials for part in parts
    }
    rdb.remove_session()
    rdb.engine.dispose()
    for part, count in parts.items():
        theirs = told[part]
        assert [trial.state for trial in theirs] == [TrialState.COMPLETE] * count
        shown |= {trial._trial_id: trial.user_attrs["slot"] for trial in theirs}
    assert shown == {trial.optuna_trial_id: trial.id for trial in trials}


def search(storage: str, study: dict[str, Any], workers: list[WorkerSettings], tick: Any) -> None:
    """Search as the command does: register, work, repair; in processes if there is a tick."""
    with open_session(parse_study(study, source="study.toml"), storage_url(storage), None):
        if tick is None:
            InlineEngine(workers[0]).run(Interrupt(), lambda: None)
        else:
            engine = ProcessEngine(workers, train_paced)
            engine.run(Interrupt(), looking(workers[0], tick))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_toml: str) -> str:
    """Address of the tiny study, finished without a fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    storage = f"sqlite:///{folder / 'study.db'}"
    settings = WorkerSettings(storage=storage, study="tiny", artifacts=folder / "artifacts")
    search(storage, tomllib.loads(tiny_toml), [settings], None)
    return storage


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("trials", "least_kills"), [(6, 5), pytest.param(18, 20, marks=pytest.mark.night)]
)
def test_a_study_whose_workers_are_killed_all_the_time_loses_nothing(
    trials: int,
    least_kills: int,
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    metrics: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("indian_tune.engines.local.processes.DEATHS_PER_MINUTE", 1000)
    tiny["search"]["trials"] = trials
    tiny["protocol"] |= {"epochs": 4, "tune_epochs": 4}
    undisturbed = storage.replace("study.db", "undisturbed.db")
    search(undisturbed, tiny, [settings_for(undisturbed)], None)
    choose = random.Random(0)
    kills = 0

    def kill() -> None:
        nonlocal kills
        with LedgerReader.open(storage) as ledger:
            study = ledger.study("tiny")
            done = sum(part.epochs_done for part in ledger.progress(study.id))
            if done < EPOCHS_BETWEEN_KILLS * (kills + 1):
                return
            workers = ledger.workers(study.id)
            living = [w for w in workers if w.left_at is None and not is_dead(w)]
            if not living:
                return
            chosen = choose.choice(living)
            # It may just have finished on its own.
            with contextlib.suppress(ProcessLookupError):
                # Halted first, so that it claims nothing between the look and the shot: a trial may
                # lose its worker twice before its next epoch; the third time it fails.
                os.kill(chosen.pid, signal.SIGSTOP)
                trials = ledger.trials(study.id, states=(State.RUNNING,))
                last_try = {trial.worker_id for trial in trials if trial.attempts >= 3}
                spared = chosen.id in last_try
                os.kill(chosen.pid, signal.SIGCONT if spared else signal.SIGKILL)
                kills += not spared

    search(storage, tiny, [settings_for(storage)] * 4, kill)
    assert kills >= least_kills
    assert_sound(storage, {"indian": trials, "sgd": trials, "confirm": 4})
    assert metrics(storage) == metrics(undisturbed)


@pytest.mark.slow
@pytest.mark.night
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("count", "seconds"), [(4, 45.0), (9, 110.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_workers_killed_at_random_leave_every_trial_complete(
    seed: int,
    count: int,
    seconds: float,
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    metrics: Record,
) -> None:
    tiny["search"]["trials"] = 6
    # By two workers at a look every quarter of a second, which takes longer than the kills.
    epochs = round(seconds)
    tiny["protocol"] |= {"epochs": epochs, "tune_epochs": epochs, "confirm_seeds": 1}
    choose = random.Random(seed)
    moments = sorted(choose.uniform(0.0, seconds) for _ in range(count))
    began, kills = time.monotonic(), 0

    def kill() -> None:
        nonlocal kills
        if kills == len(moments) or time.monotonic() - began < moments[kills]:
            return
        with LedgerReader.open(storage) as ledger:
            workers = ledger.workers(ledger.study("tiny").id)
        living = [w.pid for w in workers if w.left_at is None and not is_dead(w)]
        if living:
            # It may just have finished on its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(choose.choice(living), signal.SIGKILL)
                kills += 1

    search(storage, tiny, [settings_for(storage)] * 2, kill)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s, seed {seed}")
    assert kills == len(moments)
    assert_sound(storage, {"indian": 6, "sgd": 6, "confirm": 2})
    assert all(rows for rows in metrics(storage).values())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault in MOST_TELLING else pytest.mark.night)
        for fault in FAULTS
    ],
)
def test_a_worker_that_dies_between_two_writes_leaves_nothing_half_done(
    fault: str,
    tmp_path: Path,
    storage: str,
    undisturbed: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    metrics: Record,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(VARIABLE, f"{fault}:{tmp_path / 'died'}")
    search(storage, tiny, [settings_for(storage)], lambda: None)
    assert caplog.text.count("a worker died with exit status -9 and is replaced") == 1
    assert_sound(storage, {"indian": 2, "sgd": 2, "confirm": 4})
    assert metrics(storage) == metrics(undisturbed)
