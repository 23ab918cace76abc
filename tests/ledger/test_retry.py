"""A database that goes away for a moment, and processes that meet in it."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from indian_tune.errors import DatabaseLostError, LeaseLostError, StorageError
from indian_tune.ledger import ArmPlan, Ledger, Phase, State
from indian_tune.ledger.outage import Outage
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

    with pytest.raises(
        DatabaseLostError, match="run the same command again when the database answers"
    ):
        retry_transient(fail)
    assert 2 <= tries <= 10
    assert caplog.messages == ["database x: database is locked; trying again for up to 0 s"]


def test_an_outage_is_told_when_it_begins_once_a_minute_and_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    clock = SimpleNamespace(monotonic=lambda: now, sleep=lambda _: None)
    for module in ("outage", "retry"):
        monkeypatch.setattr(f"indian_tune.ledger.{module}.time", clock)
    monkeypatch.setattr("indian_tune.ledger.retry.OUTAGE", Outage())
    times = [100.0, 100.1, 130.0, 130.0, 165.0, 190.5]

    def act(error: Exception | None = None) -> str:
        nonlocal now
        now = times.pop(0)
        if times:
            raise StorageError("database x: refused") from busy(sqlite3.SQLITE_BUSY)
        if error is not None:
            raise error
        return "answer"

    assert retry_transient(act) == "answer"
    assert caplog.messages == [
        "database x: refused; trying again for up to 120 s",
        "database x: refused; trying again for up to 55 s",
        "the database answers again after 90.5 s",
    ]
    assert retry_transient(lambda: "at once") == "at once"
    assert len(caplog.messages) == 3
    # A refusal of ours is an answer, too.
    times = [200.0, 200.5]
    with pytest.raises(LeaseLostError):
        retry_transient(lambda: act(LeaseLostError("taken over")))
    assert caplog.messages[4:] == ["the database answers again after 0.5 s"]


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
        with pytest.raises(
            StorageError, match="No such file or directory: check that the server runs"
        ):
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
