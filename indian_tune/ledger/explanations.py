"""Says what an error of a database means, and what to do next; never shows a password."""

from __future__ import annotations

import re
import shlex
import sqlite3
from typing import TYPE_CHECKING

from indian_tune.errors import StorageError, UnwritableError
from indian_tune.ledger.address import show_url, sqlite_file

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.engine import URL

# How SQLite and PostgreSQL say that a disk is full, a file or a transaction read-only, or the
# disk itself in trouble.
_UNWRITABLE_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR})
_UNWRITABLE_STATES = frozenset({"53100", "25006", "58030"})
# Of connections that a server refuses: most come without a state, only with words, which are the
# server's own, libpq's or PgBouncer's.
_REFUSED = ("08", "28", "3D", "53300")
_ADVICE = {
    "too many clients|too many connections|remaining connection slots": (
        "every worker keeps one connection open and sometimes needs a second one: raise "
        "max_connections of the server well above the number of workers, or start fewer workers"
    ),
    "no password supplied": (
        "set PGPASSWORD, or put the line {passfile} into ~/.pgpass (mode 600)"
    ),
    "password authentication failed|SASL authentication failed": (
        "correct the user in --storage, or the password in PGPASSWORD or ~/.pgpass"
    ),
    "Peer authentication failed|Ident authentication failed": (
        "the server lets a user in only from the system account of that name: give a host, as in "
        "postgresql+psycopg://{user}@localhost/{database}, or change pg_hba.conf"
    ),
    "no pg_hba.conf entry|no such entry in HBA|login rejected": (
        "add a line for this user, database and machine to pg_hba.conf of the server and reload it"
    ),
    "no such database|no such user": (
        "add it to pgbouncer.ini or to its auth_file, or correct its name in --storage"
    ),
    'database "[^"]*" does not exist': (
        "create it with `{createdb}`, or correct its name in --storage"
    ),
    'role "[^"]*" does not exist': (
        "create it with `createuser` on the server, or correct the user in --storage"
    ),
    "Connection refused|socket .* No such file|server closed the connection unexpectedly": (
        "check that the server runs, and host and port in --storage"
    ),
    "invalid response to SSL negotiation": (
        "something other than PostgreSQL answers there: check host and port in --storage"
    ),
    "failed to resolve host|could not translate host name": "correct the host in --storage",
    "[Tt]imeout|timed out|No route to host|Network is unreachable": (
        "check host and port in --storage, and that no firewall is in between"
    ),
}


def explained(url: URL, error: sa.exc.DBAPIError) -> StorageError | UnwritableError:
    """Return what a driver's error means for the user."""
    said = str(error.orig).strip()
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return StorageError(
            f"{sqlite_file(url)} is not an SQLite database: choose another file with --storage"
        )
    if code == sqlite3.SQLITE_CORRUPT:
        file = shlex.quote(str(sqlite_file(url)))
        return StorageError(
            f"database {show_url(url)}: {said}. Continue from a copy, if you made one with "
            f"`indian-tune export --db`, or save what can still be read: "
            f"`sqlite3 {file} .recover | sqlite3 recovered.db`"
        )
    state = getattr(error.orig, "sqlstate", None)
    if code in _UNWRITABLE_CODES or state in _UNWRITABLE_STATES:
        return UnwritableError(
            f"database {show_url(url)}: {said}. Earlier records are safe: free disk space or make "
            "the database writable, then run the same command again"
        )
    if sqlite_file(url) is None and (state is None or state.startswith(_REFUSED)):
        for words, advice in _ADVICE.items():
            # Each address of a host may have been tried; what was tried comes before what was said.
            reasons = re.findall(f"(?:{words}).*", said)
            if reasons:
                reason = reasons[-1].strip()
                return StorageError(
                    f"database {show_url(url)}: {reason}: {advice.format(**_places(url))}"
                )
    return StorageError(f"database {show_url(url)}: {said}")


def _places(url: URL) -> dict[str, str]:
    """Return what an advice names, as the address says it."""
    host, port = url.query.get("host", url.host), url.query.get("port", url.port)
    database, user = url.database or "", url.username or ""
    words = ["createdb"]
    for option, value in (("--host", host), ("--port", port), ("--username", user)):
        words += [option, str(value)] if value else []
    passfile = (host or "localhost", port or 5432, database or "*", user or "*", "PASSWORD")
    return {
        "createdb": shlex.join([*words, *([database] if database else [])]),
        "passfile": ":".join(map(str, passfile)),
        "user": user or "USER",
        "database": database or "DATABASE",
    }
