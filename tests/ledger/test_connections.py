"""What every connection is given, so that a network that fails in silence is noticed."""

from __future__ import annotations

import contextlib
import secrets
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from indian_tune.errors import StorageError
from indian_tune.ledger import Ledger, connections, sqlite_settings, storage_url
from indian_tune.ledger.connections import connect_args
from indian_tune.ledger.database import connect
from indian_tune.ledger.explanations import explained
from indian_tune.ledger.haste import hurried_when
from indian_tune.ledger.retry import is_transient
from indian_tune.study.optuna.projection import Projection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PostgresServer

LIMIT = "idle_in_transaction_session_timeout"


def dawdle(connection: sa.Connection, pause: float) -> None:
    """Stay in a transaction without end."""
    while True:
        connection.execute(sa.text("SELECT 1"))
        time.sleep(pause)


def test_what_stands_in_the_address_goes_before_the_defaults() -> None:
    plain = connect_args(storage_url("postgresql://host/studies"))
    assert plain["connect_timeout"] == 10
    assert plain["tcp_user_timeout"] == 30_000
    own = connect_args(storage_url("postgresql://host/studies?tcp_user_timeout=5000"))
    assert own == {name: value for name, value in plain.items() if name != "tcp_user_timeout"}
    assert connect_args(storage_url("study.db")) == {"timeout": 60}


@pytest.mark.postgres
def test_a_connection_that_is_refused_is_explained_with_what_to_do(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.delenv(variable, raising=False)
    url = storage_url(postgres.new_database())
    role = f"role_{secrets.token_hex(4)}"
    creation = f"CREATE ROLE {role} LOGIN PASSWORD 'right'"
    postgres.run_client("psql", url.render_as_string(), "-c", creation)
    postgres.demand_password(role)
    host, name = url.query["host"], url.database
    guest = url.set(username=role)
    for address, words in (
        (
            guest,
            f"no password supplied: set PGPASSWORD, or put the line {host}:5432:{name}:{role}:",
        ),
        (guest.set(password="wrong"), f'user "{role}": correct the user in --storage, or the pass'),
        (url.set(database="absent"), f"create it with `createdb --host {host} --username tester a"),
        (url.set(username="absent"), 'role "absent" does not exist: create it with `createuser`'),
        (storage_url("postgresql://127.0.0.1:1/a"), ": Connection refused: check that the server"),
        (storage_url("postgresql:///a?host=/none"), "No such file or directory: check that the"),
        (storage_url("postgresql://h.invalid/a"), "correct the host in --storage"),
    ):
        with pytest.raises(StorageError) as raised:
            connect(address, write=False)
        told = str(raised.value)
        assert words in told
        assert len(told.splitlines()) == 1
        assert "wrong" not in told


def test_what_answers_and_is_no_postgresql_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    asking, _ = server.accept()
                    with asking:
                        asking.recv(1024)
                        asking.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        with pytest.raises(StorageError, match="something other than PostgreSQL answers there"):
            connect(storage_url(f"postgresql://me@127.0.0.1:{port}/tuning"), write=False)


@pytest.mark.postgres
def test_the_server_ends_what_a_lost_worker_has_locked(postgres: PostgresServer) -> None:
    url = storage_url(postgres.new_database())
    with Ledger.open(url) as ledger:
        projection = Projection(url, "tiny", ["sgd"])
        for engine in (ledger._engine, projection._engine):
            with engine.connect() as connection:
                assert connection.scalar(sa.text(f"SHOW {LIMIT}")) == "30s"
        projection.close()
    own = storage_url(f"{url.render_as_string(False)}&options=-c%20{LIMIT}%3D1000")
    engine = connect(own, write=False)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as raised:
        dawdle(connection, pause=1.5)
    # What the worker did not commit is done again, on another connection.
    error = explained(own, raised.value)
    error.__cause__ = raised.value
    assert is_transient(error)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    engine.dispose()


def test_connections_that_meet_at_a_new_file_wait_for_each_other(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def settle(file: Path) -> str:
        with contextlib.closing(
            sqlite3.connect(file, timeout=60, isolation_level=None)
        ) as connection:
            together.wait()
            sqlite_settings(connection)
            # By a write the file gets its header, and the lock is taken.
            connection.execute("CREATE TABLE IF NOT EXISTS met (number)")
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            modes = pool.map(settle, [tmp_path / f"{number}.db"] * 8)
            assert list(modes) == ["wal"] * 8


@pytest.mark.parametrize("asked", [False, True])
def test_a_lock_that_stays_is_not_waited_for_in_haste(asked: bool) -> None:
    tries = []

    class Busy:
        def execute(self, _: str) -> None:
            tries.append(1)
            if len(tries) < 3:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY_RECOVERY
                raise error

    cursor: Any = Busy()
    with hurried_when(lambda: asked):
        if asked:
            with pytest.raises(sqlite3.OperationalError):
                connections._write_ahead(cursor)
        else:
            connections._write_ahead(cursor)
    assert len(tries) == (1 if asked else 3)
