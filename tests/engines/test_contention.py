"""Many writers on one database, each through its own connections, all as fast as they can."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.session import open_session
from indian_tune.ledger import Ledger, LedgerReader, State, storage_url
from indian_tune.study.controller import Controller
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.registered_study import RegisteredStudy
from tests.conftest import measured
from tests.reports import report
from tests.simulation.checker import read_rows, violations

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

SECONDS = 15.0
PROCESSES = 8
EPOCHS = 5


def write(storage: str, worker: str, start: float, seconds: float) -> tuple[int, int]:
    """Claim, report and finish, once at least, until the time is over.

    Returns:
        How many trials and epochs were written.
    """
    trials = epochs = 0
    with Ledger.open(storage) as ledger:
        study = RegisteredStudy.open(ledger, "tiny")
        ledger.join(study.id, worker, host="here", pid=1, started="0", device="cpu")
        controller = Controller(study, worker)
        # All begin together, when the slowest process has loaded what it needs.
        time.sleep(max(0.0, start - time.time()))
        while trials == 0 or time.time() < start + seconds:
            assignment = controller.claim({})
            assert assignment is not None
            (run,) = assignment.runs
            for epoch in range(1, EPOCHS + 1):
                report(controller, assignment, {run.id: measured(epoch)})
                epochs += 1
            controller.finish_run(assignment, run)
            controller.finish(assignment)
            trials += 1
        controller.close()
        ledger.leave(worker)
    return trials, epochs


def write_in_threads(
    storage: str, process: int, threads: int, start: float
) -> list[tuple[int, int]]:
    # Optuna loads parts of itself when they are first used, which threads must not do together.
    first = write(storage, f"{process}-first", 0.0, 0.0)
    with ThreadPoolExecutor(threads) as pool:
        names = [f"{process}-{thread}" for thread in range(threads)]
        rest = pool.map(lambda name: write(storage, name, start, SECONDS), names)
        return [first, *rest]


def hammer(storage: str, study: dict[str, Any], writers: int) -> None:
    study["search"]["trials"] = 10_000
    study["protocol"] |= {"epochs": EPOCHS, "tune_epochs": EPOCHS}
    with open_session(parse_study(study, source="study.toml"), storage_url(storage), None):
        pass
    start = time.time() + 20
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
        jobs = [
            pool.submit(write_in_threads, storage, process, writers // PROCESSES, start)
            for process in range(PROCESSES)
        ]
        counts = [count for job in jobs for count in job.result()]
    assert len(counts) == writers + PROCESSES
    with LedgerReader.open(storage) as ledger:
        record = ledger.study("tiny")
        done = ledger.trials(record.id, states=(State.COMPLETE,))
        progress = ledger.progress(record.id)
        projection = Projection(ledger.url, "tiny", ["indian", "sgd"])
        shown = [trial for arm in ("indian", "sgd") for trial in projection.trials(arm)]
        projection.close()
    assert len(done) == sum(trials for trials, _ in counts)
    assert sum(part.epochs_done for part in progress) == sum(epochs for _, epochs in counts)
    assert {trial.attempts for trial in done} == {1}
    assert len(shown) == len(done)
    assert all(len(trial.intermediate_values) == EPOCHS for trial in shown)
    assert {trial.value for trial in shown} == {0.5}
    assert violations(read_rows(storage), ended=False) == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_32_writers_on_sqlite_lose_nothing(storage: str, tiny: dict[str, Any]) -> None:
    hammer(storage, tiny, 32)


@pytest.mark.slow
@pytest.mark.night
@pytest.mark.postgres
@pytest.mark.timeout(400)
def test_64_writers_on_postgresql_lose_nothing(
    postgres: PostgresServer, tiny: dict[str, Any]
) -> None:
    hammer(postgres.new_database(), tiny, 64)
