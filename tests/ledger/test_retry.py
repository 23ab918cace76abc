"""A database that goes away for a moment, and processes that meet in it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from indian_tune.errors import StorageError
from indian_tune.ledger import ArmPlan, Ledger, Phase, State
from indian_tune.ledger.retry import is_transient, retry_transient
from tests.conftest import measured, postgres_server
from tests.reports import record as record_one

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

ARMS = [ArmPlan("indian", "indian", 3)]


def busy(code: int) -> sa.exc.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return sa.exc.OperationalError("BEGIN IMMEDIATE", {}, error)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_BUSY, True),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, True),
        (sqlite3.SQLITE_LOCKED, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_READONLY, False),
        (sqlite3.SQLITE_CORRUPT, False),
    ],
)
def test_only_what_passes_is_tried_again(code: int, expected: bool) -> None:
    error = StorageError("database")
    error.__cause__ = busy(code)
    assert is_transient(error) is expected
    assert not is_transient(StorageError("there is no database"))


def test_trying_again_ends_in_time_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("indian_tune.ledger.retry.PATIENCE_SECONDS", 0.3)
    tries = 0

    def fail() -> None:
        nonlocal tries
        tries += 1
        raise StorageError("database x: database is locked") from busy(sqlite3.SQLITE_BUSY)

    with pytest.raises(StorageError, match="run the same command again when the database answers"):
        retry_transient(fail)
    assert 2 <= tries <= 10
    assert caplog.text.count("database is locked; trying again") == tries - 1


@pytest.mark.postgres
def test_a_worker_outlives_a_restart_of_the_server(postgres: PostgresServer) -> None:
    with Ledger.open(postgres.new_database()) as ledger:
        study = ledger.register("study", {}, "hash", ARMS)
        ledger.join(study.id, "worker", host="here", pid=1, started="0", device="cpu")
        lease = ledger.claim(study.id, Phase.TUNE, "worker")
        assert lease is not None
        (run,) = ledger.begin(lease, {"gamma0": 0.1}, 1, seeds=(0,), epochs=3, provenance={})
        for epoch in (1, 2, 3):
            with postgres.down(seconds=0.3):
                record_one(ledger, lease, {run.id: measured(epoch)})
        with postgres.down(seconds=0):
            pass
        ledger.finish(lease, State.COMPLETE, 0.5)
        assert [row.epoch for row in ledger.epochs(run.id)] == [1, 2, 3]
        assert ledger.trial(lease.trial.id).state is State.COMPLETE


@pytest.mark.postgres
def test_only_a_worker_waits_for_a_server_that_does_not_answer(postgres: PostgresServer) -> None:
    address = postgres.new_database()
    Ledger.open(address).close()
    with postgres.down(seconds=1):
        with pytest.raises(StorageError, match="failed: No such file"):
            Ledger.open(address)
        Ledger.open(address, patient=True).close()


@pytest.mark.postgres
def test_a_server_with_no_connection_left_says_what_to_raise() -> None:
    few = {"fsync": "off", "max_connections": "5", "superuser_reserved_connections": "0"}
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server(few))
        server.start()
        address = server.new_database()
        Ledger.open(address).close()
        engine = sa.create_engine(address, poolclass=sa.NullPool)
        for _ in range(5):
            stack.enter_context(engine.connect())
        with pytest.raises(StorageError, match="raise max_connections of the server well above"):
            Ledger.open(address)


def test_a_study_registered_by_many_at_once_is_registered_once(database: str) -> None:
    together = threading.Barrier(8)

    def register() -> int:
        together.wait()
        # Each makes the tables too, if it comes first.
        with Ledger.open(database) as ledger:
            return ledger.register("study", {}, "hash", ARMS).id

    with ThreadPoolExecutor(8) as pool:
        ids = {future.result() for future in [pool.submit(register) for _ in range(8)]}
    with Ledger.open(database) as ledger:
        (study,) = ledger.studies()
        assert ids == {study.id}
        assert len(ledger.trials(study.id)) == 3
        assert [event.kind for event in ledger.events(study.id)] == ["registered"]
