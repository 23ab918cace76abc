"""Checks the database: kind, file system, and whether it can be created."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from indian_tune.checkup.check import CheckResult, Level
from indian_tune.errors import StorageError
from indian_tune.ledger import file_system, show_url, sqlite_file
from indian_tune.ledger.database import check_file

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from indian_tune.ledger import LedgerReader


def check_database(ledger: LedgerReader) -> CheckResult:
    """Return what an open database is; it was reached, and its schema is this version's."""
    about = ledger.about()
    text = f"{ledger.address}: {about.kind} {about.version}, schema {about.revision}"
    if about.journal is None:
        return CheckResult("database", Level.OK, text)
    text += f", journal {about.journal}{_lies_on(ledger.url)}"
    if about.journal != "wal":
        return CheckResult(
            "database",
            Level.WARN,
            f"{text}: writers wait for readers",
            "do not change the journal mode of the file elsewhere, or use PostgreSQL",
        )
    return CheckResult("database", Level.OK, text)


def check_new_database(url: URL) -> CheckResult:
    """Return whether an SQLite file that is not there yet can be created."""
    file = sqlite_file(url)
    assert file is not None
    try:
        check_file(file, write=True, create=True)
    except StorageError as error:
        return CheckResult("database", Level.FAIL, str(error), "choose another file with --storage")
    version = sqlite3.sqlite_version
    text = f"{show_url(url)}: does not exist yet, will be created (SQLite {version}{_lies_on(url)})"
    return CheckResult("database", Level.OK, text)


def check_empty_database(url: URL) -> CheckResult:
    """Return what a database is that can be used, and has no tables of ours yet."""
    return CheckResult(
        "database",
        Level.OK,
        f"{show_url(url)}: can be used; its tables are not created yet",
        "`indian-tune search` creates them, or `indian-tune doctor --create` now",
    )


def _lies_on(url: URL) -> str:
    file = sqlite_file(url)
    kind = None if file is None else file_system(file)
    return "" if kind is None else f", on {kind[0]}"
