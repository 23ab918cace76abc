from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import indian_tune.ledger
from indian_tune.errors import StorageError
from indian_tune.ledger import (
    Ledger,
    LedgerReader,
    command_line,
    needed_option,
    show_url,
    storage_url,
)
from indian_tune.ledger.tables import HEAD_REVISION, VERSION_TABLE, metadata


def test_option_beats_environment_beats_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INDIAN_TUNE_STORAGE", raising=False)
    assert show_url(storage_url()) == f"sqlite:///{tmp_path}/indian-tune.db"
    monkeypatch.setenv("INDIAN_TUNE_STORAGE", "sqlite:///from-environment.db")
    assert show_url(storage_url()) == f"sqlite:///{tmp_path}/from-environment.db"
    given = show_url(storage_url("given.db"))
    assert given == f"sqlite:///{tmp_path}/given.db"
    # A command on the one in the environment needs no option.
    assert (needed_option(show_url(storage_url())), needed_option(given)) == (None, given)
    monkeypatch.setenv("INDIAN_TUNE_STORAGE", "mysql://host/db")
    assert needed_option(given) == given
    secret = show_url(storage_url("postgresql://someone:secret@host/studies"))
    shown = command_line(secret, "show", "two words")
    assert shown.startswith(
        "indian-tune show 'two words' --storage postgresql+psycopg://someone@ho"
    )


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_postgresql_gets_its_driver_written_out_and_its_password_hidden(scheme: str) -> None:
    url = storage_url(f"{scheme}://someone:secret@host/studies")
    assert url.drivername == "postgresql+psycopg"
    assert "secret" not in show_url(url)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mysql://host/db", "database type 'mysql' in --storage"),
        ("sqlite://", "does not name a file"),
        ("sqlite:///:memory:", "does not name a file"),
        ("://", "is not valid"),
        ("postgresql:someone:secret@host/db", "is not valid"),
        ("postgresql+psycopg:/someone:secret@host/db", "is not valid"),
        ("host=here password=secret", "is not valid"),
        ("127.0.0.1:5544/tuning", "is not valid"),
        ("someone:secret@host:5432/tuning", "is not valid"),
        ("someone@host/tuning", "is not valid"),
        ("postgresql://someone:secret@host/\udce9", "contains bytes that are not UTF-8"),
        ("runs-\udce9.db", "contains bytes that are not UTF-8"),
        ("runs\0.db", "contains a NUL"),
        ("sqlite:///runs%00.db", "contains a NUL"),
        ("postgresql://someone:secret@host/data%00base", "contains a NUL"),
        ("postgresql://host/someone:secret@db", "contains an @ after the host"),
        (
            "postgresql://someone:secret@..host/db",
            "'..host' in --storage or INDIAN_TUNE_STORAGE is not a valid",
        ),
        ("postgresql://someone:sec@secret@host/db", "write an @ in a user name or a password as"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(address: str, message: str) -> None:
    with pytest.raises(StorageError, match=message) as caught:
        storage_url(address)
    assert "secret" not in str(caught.value)


def test_a_new_database_has_the_tables_that_the_code_declares(tmp_path: Path) -> None:
    Ledger.open(str(tmp_path / "new.db")).close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD_REVISION
    engine.dispose()


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    config = Config()
    folder = os.path.join(os.path.dirname(indian_tune.ledger.__file__), "migrations")  # noqa: PTH118, PTH120
    config.set_main_option("script_location", folder)
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD_REVISION


def test_sqlite_waits_for_its_lock_and_writes_ahead(tmp_path: Path) -> None:
    with Ledger.open(str(tmp_path / "new.db")) as ledger, ledger._engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragma == {
        "journal_mode": "wal",
        "synchronous": 1,
        "foreign_keys": 1,
        "busy_timeout": 60_000,
    }


def test_a_database_that_only_optuna_has_used_becomes_ours_as_well(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.create_study(study_name="theirs", storage=address)
    with Ledger.open(address) as ledger:
        assert ledger.studies() == []
    assert optuna.load_study(study_name="theirs", storage=address).study_name == "theirs"


def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    connection.close()
    with pytest.raises(
        StorageError, match=r"belongs to another program \(it contains the tables recipes\)"
    ):
        Ledger.open(str(path))
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("recipes",)]


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear reader, this is not a database.")
    with pytest.raises(StorageError, match="not an SQLite database"):
        Ledger.open(str(path))
    assert path.read_text() == "Dear reader, this is not a database."


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="reads the kernel's table of locks")
def test_opening_a_database_again_keeps_the_locks_of_the_connections_there_are(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new.db"

    def locks() -> list[str]:
        inode = f":{path.stat().st_ino} "
        table = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        return [line.partition(": ")[2] for line in table if inode in line]

    with Ledger.open(str(path)) as ledger:
        assert ledger.studies() == []
        before = locks()
        assert before
        for opening in (Ledger.open, LedgerReader.open):
            opening(str(path)).close()
            assert locks() == before


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    Ledger.open(str(path)).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    for opening in (Ledger.open, LedgerReader.open):
        with pytest.raises(StorageError, match="schema 9999, newer than this version's"):
            opening(str(path))


def test_reading_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no database"):
        LedgerReader.open(str(tmp_path / "absent.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        Ledger.open(str(tmp_path / "no" / "study.db"))
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(StorageError) as caught:
        Ledger.open("postgresql+psycopg://someone:secret@127.0.0.1:1/studies?connect_timeout=2")
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)
