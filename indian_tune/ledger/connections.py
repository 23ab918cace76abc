"""Settings of every connection, the ledger's own and Optuna's.

A network that fails in silence leaves both ends waiting: without these settings a worker would hang
for a quarter of an hour, and what it had locked would stay locked for two.

Nothing relies on a session of the server's: PgBouncer may run every transaction in another one.
"""

from __future__ import annotations

import functools
import random
import sqlite3
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.ledger.clock import steady_time
from indian_tune.ledger.haste import in_haste

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL

# Execution option of a connection.
CLOCK = "clock"
BUSY_TIMEOUT_SECONDS = 60
# https://www.postgresql.org/docs/current/libpq-connect.html; seconds, the last one milliseconds,
# which is also how long an answer may take.
_LIBPQ = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# The server's view of the same connection. A transaction of ours takes milliseconds: one that has
# been idle for so long has lost its worker, and must not keep others from the trial it locked.
_SERVER = {
    "tcp_keepalives_idle": "20s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
    "idle_in_transaction_session_timeout": "30s",
}


def connect_args(url: URL) -> dict[str, Any]:
    """Return what the driver is given beside the address; the address takes precedence."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": BUSY_TIMEOUT_SECONDS}
    return {key: value for key, value in _LIBPQ.items() if key not in url.query}


def engine_options(url: URL, *, read_only: bool = False, **driver: Any) -> dict[str, Any]:
    """Return what SQLAlchemy's ``create_engine`` is given beside the address.

    Args:
        url: of the database.
        read_only: whether a server is to refuse writes on these connections.
        **driver: more for the driver's ``connect``.
    """
    args = connect_args(url) | driver
    if url.get_backend_name() == "sqlite":
        return {"connect_args": args}
    return {"creator": functools.partial(_connect, url, args, read_only=read_only)}


def _connect(url: URL, args: dict[str, Any], *, read_only: bool) -> Any:
    # Not needed where the database is a file.
    from indian_tune.ledger.answers import AnsweringConnection

    kind: Any = url.get_dialect()
    _, given = kind(dbapi=kind.import_dbapi()).create_connect_args(url)
    named: dict[str, Any] = {**given, **args}
    # A prepared statement belongs to a session.
    connection = AnsweringConnection.connect(**{**named, "prepare_threshold": None})
    connection.silence = float(named["tcp_user_timeout"]) / 1000 or None
    connection.read_only = read_only or None
    return connection


def configure(engine: sa.Engine) -> None:
    """Give every connection that an engine makes from now on the settings that it needs."""
    sqlite = engine.dialect.name == "sqlite"
    if not sqlite and "options" in engine.url.query:
        # Whoever sets the server's side in the address has the last word.
        return

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        (sqlite_settings if sqlite else _server_settings)(connection)


def sqlite_settings(connection: Any) -> None:
    """Set what a connection to an SQLite file needs."""
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Use a write-ahead log, waiting while other connections to a new file do the same.

    SQLite's own timeout does not apply to this change: it fails at once where two connections would
    wait for each other.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or in_haste() or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - no secret
        else:
            return


def _server_settings(connection: Any) -> None:
    settings = ", ".join(
        f"set_config('{name}', '{value}', false)" for name, value in _SERVER.items()
    )
    with connection.cursor() as cursor:
        # A pooler shows an id of its own, and its sessions serve others as well.
        cursor.execute(f"SELECT {settings} WHERE pg_backend_pid() = {connection.info.backend_pid}")
    # Settings go with the transaction that made them if it is rolled back.
    connection.commit()


def database_time(connection: sa.Connection) -> datetime:
    """The one clock of a database: the server's, since the hosts' clocks may differ.

    That of an SQLite file is its host's, which may be set back. A connection may have a clock of
    its own, where time is simulated.
    """
    clock: Callable[[], datetime] | None = connection.get_execution_options().get(CLOCK)
    if clock is not None:
        return clock()
    if connection.dialect.name == "postgresql":
        now = connection.scalar(sa.select(sa.func.clock_timestamp()))
        assert isinstance(now, datetime)
        return now
    return datetime.fromtimestamp(steady_time(connection), UTC)
