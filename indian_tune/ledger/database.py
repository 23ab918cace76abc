"""Opens the database: SQLite's settings, ownership checks, schema.

Raises only StorageError and UnwritableError, and never shows a password.
"""

from __future__ import annotations

import logging
import os
import shlex
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa

from indian_tune.errors import (
    EmptyDatabaseError,
    IndianTuneError,
    StorageError,
    UnwritableError,
)
from indian_tune.ledger.address import STORAGE_VARIABLE, show_url, sqlite_file
from indian_tune.ledger.connections import configure, engine_options
from indian_tune.ledger.explanations import explained
from indian_tune.ledger.mounts import network_file_system
from indian_tune.ledger.tables import HEAD_REVISION, PREFIX, VERSION_TABLE, metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

logger = logging.getLogger(__name__)

# Of one process with a server, for moments: threads that ask for more wait for their turn.
_MOST_CONNECTIONS = 15
# Any number that nothing else in the database uses as an advisory lock.
_UPGRADE_LOCK = 0x1ED6E5
# How long a server may work at one statement of an upgrade.
_UPGRADE_SECONDS = 3600.0

# As Alembic makes it.
_VERSION = sa.Table(
    VERSION_TABLE,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)

# A database that holds this table has been used by Optuna, and may become ours as well.
_OPTUNA_TABLE = "version_info"
_OPTUNA_TABLES = frozenset(
    {
        "alembic_version",
        "studies",
        "study_directions",
        "study_system_attributes",
        "study_user_attributes",
        "trial_heartbeats",
        "trial_intermediate_values",
        "trial_params",
        "trial_system_attributes",
        "trial_user_attributes",
        "trial_values",
        "trials",
        "version_info",
    }
)


# Where a connection keeps which file SQLite's log of it is. SQLite removes the file with the last
# connection only, and writes on into a file that somebody else has removed.
_LOG = "write-ahead log"


@contextmanager
def storage_errors(url: URL) -> Iterator[None]:
    """Turn what a driver raises about the database as a whole into an error of ours."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise explained(url, error) from error


def connect(url: URL, *, write: bool, create: bool = False) -> sa.Engine:
    """Return an engine on a database that is ours, or may become so.

    Args:
        url: from ``storage_url``.
        write: whether it will be written; an older schema is then brought up to date.
        create: whether a missing SQLite file may be made, and a database become ours.

    Raises:
        StorageError: missing, unreachable, unwritable, not ours, or of another version.
        UnwritableError: the disk is full.
    """
    file = sqlite_file(url)
    if file is not None:
        check_file(file, write=write, create=create)
    kept = file is not None and not write and is_kept(file)
    engine = _engine(_immutable(url) if kept else url)
    try:
        with storage_errors(url):
            _check_owner(engine, url, write=write, create=create)
            if write:
                _upgrade(engine, url)
    except IndianTuneError:
        engine.dispose()
        raise
    return engine


def _engine(url: URL) -> sa.Engine:
    if sqlite_file(url) is None:
        # Kept open is what a worker needs all the time; a heartbeat that falls into a transaction
        # gets a connection for itself. Whoever has many workers runs out of connections first.
        # No ping before each transaction: one that finds its connection broken is repeated.
        engine = sa.create_engine(
            url, **engine_options(url), pool_size=1, max_overflow=_MOST_CONNECTIONS - 1
        )
        configure(engine)
        return engine
    # The driver must not open transactions on its own, because a write that begins as a read cannot
    # wait for the lock; it fails with "database is locked".
    engine = sa.create_engine(url, **engine_options(url, isolation_level=None))
    if "immutable" not in url.query:
        configure(engine)

    log = Path(f"{url.database}-wal")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        known = connection.info.get(_LOG)
        if known is not None and known != _inode(log):
            raise UnwritableError(
                f"{log} was deleted or replaced while the database was open, so the latest "
                f"records may be lost: stop every command that uses {url.database}, then check it "
                "with `indian-tune doctor`"
            )
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        if known is None and writes:
            connection.info[_LOG] = _inode(log)

    return engine


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except OSError:
        return None


def is_kept(file: Path) -> bool:
    """Return whether a file is complete and lies where nothing can be written, as in an archive.

    Even to read, SQLite makes files beside the database. It need not where nothing changes.
    """
    log = file.with_name(file.name + "-wal")
    unwritable = not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))
    return unwritable and not (log.exists() and log.stat().st_size)


def _immutable(url: URL) -> URL:
    """Return the address of a file that nobody changes: https://sqlite.org/uri.html."""
    query = {"mode": "ro", "immutable": "1", "uri": "true"}
    return url.set(database=f"file:{quote(str(url.database))}", query=query)


def check_file(file: Path, *, write: bool, create: bool) -> None:
    """Check that a file can be an SQLite database of ours, as far as its path tells.

    Args:
        file: of the database.
        write: whether it will be written.
        create: whether it may be made.

    Raises:
        StorageError: it cannot; the message says why and what to do.
    """
    # Looked at, never opened: closing a file ends every lock that this process has on it, and
    # with it the protection of the connections that SQLite has open.
    if file.is_dir():
        raise StorageError(f"database {file} is a folder: give a file name with --storage")
    network = network_file_system(file)
    if network is not None:
        kind, folder = network
        raise StorageError(
            f"database {file} is on a network file system ({kind} at {folder}). SQLite's locks do "
            "not work there, and two writers damage the database: choose a file on a local disk "
            "with --storage, or use a PostgreSQL server (postgresql+psycopg://USER@HOST/DATABASE)"
        )
    if not file.exists():
        if not create:
            raise StorageError(
                f"there is no database {file}: run this in the folder in which the search was "
                "run, name another database with --storage or "
                f"{STORAGE_VARIABLE}, or run `indian-tune search STUDY.toml` first"
            )
        if not file.parent.is_dir():
            raise StorageError(f"database {file}: folder {file.parent} does not exist: create it")
        if not os.access(file.parent, os.W_OK):
            raise StorageError(
                f"database {file}: folder {file.parent} is not writable: change its permissions"
            )
    elif write and not os.access(file, os.W_OK):
        raise StorageError(
            f"database {file} is not writable: change its permissions, or use a copy with --storage"
        )
    elif not os.access(file, os.R_OK):
        raise StorageError(f"database {file} is not readable: change its permissions")


def _check_owner(engine: sa.Engine, url: URL, *, write: bool, create: bool) -> None:
    with engine.connect() as connection:
        names = set(sa.inspect(connection).get_table_names())
        ours = any(name.startswith(PREFIX) for name in names)
        if not ours:
            foreign = sorted(names - _OPTUNA_TABLES)
            if names and (_OPTUNA_TABLE not in names or foreign):
                raise StorageError(
                    f"database {show_url(url)} belongs to another program (it contains the tables "
                    f"{', '.join(foreign[:5] or sorted(names)[:5])}): choose another database "
                    "with --storage"
                )
            _check_may_create(connection, url)
            if not create:
                raise EmptyDatabaseError(
                    f"database {show_url(url)} contains no study: run `indian-tune search "
                    "STUDY.toml` first, or choose another database with --storage"
                )
            return
        revision = connection.scalar(sa.select(_VERSION.c.version_num))
    if revision is not None and revision > HEAD_REVISION:
        raise StorageError(
            f"database {show_url(url)} has schema {revision}, newer than this version's "
            f"{HEAD_REVISION}: upgrade indian-tune (pip install --upgrade indian-tune), or choose "
            "another database with --storage"
        )
    if revision != HEAD_REVISION and not write:
        file = sqlite_file(url)
        way = f"run `indian-tune doctor --storage {show_url(url)}` to bring it up to date"
        if file is not None and is_kept(file):
            way = (
                "it is read-only here, so copy it to a writable folder, and run `indian-tune "
                "doctor --storage COPY` to bring the copy up to date"
            )
        raise StorageError(
            f"database {show_url(url)} has schema {revision}, older than this version's "
            f"{HEAD_REVISION}: {way}"
        )


def _check_may_create(connection: sa.Connection, url: URL) -> None:
    if connection.dialect.name != "postgresql":
        return
    schema = sa.func.current_schema()
    may = sa.func.has_schema_privilege(schema, "CREATE")
    role, name, allowed = connection.execute(sa.select(sa.func.current_user(), schema, may)).one()
    if allowed is False:
        # PostgreSQL 15 and newer let the owner of a database alone do this.
        raise StorageError(
            f"database {show_url(url)}: role {role!r} may not create tables in schema {name}: let "
            f'the owner of the database run `GRANT CREATE ON SCHEMA {name} TO "{role}"` in it'
        )


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.scalar(sa.select(_VERSION.c.version_num))
    return revision


def _upgrade(engine: sa.Engine, url: URL) -> None:
    with engine.connect() as connection:
        if _revision(connection) == HEAD_REVISION:
            return
    with _rebuilding(engine) as connection:
        if connection.dialect.name == "postgresql":
            # Two processes that open a new database together make its tables one after the other.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        before = _revision(connection)
        if before == HEAD_REVISION:
            return
        if before is None:
            # An empty database needs none of the steps that changed older ones.
            metadata.create_all(connection)
            _VERSION.create(connection, checkfirst=True)
            connection.execute(_VERSION.insert().values(version_num=HEAD_REVISION))
            logger.info("Database %s has schema %s", show_url(url), HEAD_REVISION)
            return
        # Only here: every worker opens the database, and nearly every one finds it up to date.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        logger.warning(
            "Upgraded database %s from schema %s to %s", show_url(url), before, HEAD_REVISION
        )


@contextmanager
def _rebuilding(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction in which tables may be made again that others refer to.

    SQLite can change a constraint only so, and would delete, by the foreign keys, every row that
    refers to the table that is dropped. It heeds the setting outside of transactions alone.
    A server may take its time over a large table, or over another process that changes one.
    """
    with engine.execution_options(writes=True).connect() as connection:
        driver: Any = connection.connection.driver_connection
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            driver.execute("PRAGMA foreign_keys=OFF")
        else:
            usual, driver.silence = driver.silence, _UPGRADE_SECONDS
        try:
            with connection.begin():
                yield connection
        finally:
            if sqlite:
                driver.execute("PRAGMA foreign_keys=ON")
            else:
                driver.silence = usual


@dataclass(frozen=True)
class DatabaseInfo:
    """What a database is.

    Attributes:
        kind: ``SQLite`` or ``PostgreSQL``.
        version: of the library or the server.
        revision: of our schema.
        journal: SQLite's journal mode; ``None`` for a server.
    """

    kind: str
    version: str
    revision: str
    journal: str | None


def about(engine: sa.Engine) -> DatabaseInfo:
    """Return what an open database is."""
    with engine.begin() as connection:
        revision = str(connection.scalar(sa.select(_VERSION.c.version_num)))
        if engine.dialect.name == "sqlite":
            journal = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
            return DatabaseInfo("SQLite", sqlite3.sqlite_version, revision, journal)
        version = str(connection.exec_driver_sql("SHOW server_version").scalar())
    return DatabaseInfo("PostgreSQL", version, revision, None)


def integrity_errors(engine: sa.Engine) -> list[str]:
    """Return what SQLite finds damaged in its file; a server looks after its files itself."""
    if engine.dialect.name != "sqlite":
        return []
    with engine.begin() as connection:
        found = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    return [] if found == ["ok"] else [str(line) for line in found]


def _libpq(url: URL) -> str:
    """Return an address as PostgreSQL's own programs take it, without its password."""
    plain = url._replace(drivername="postgresql", password=None)
    return shlex.quote(plain.render_as_string())


def copy_database(engine: sa.Engine, url: URL, file: Path) -> None:
    """Write a consistent copy of an SQLite database to a new file, also while it is in use.

    Raises:
        StorageError: not SQLite, or the copy cannot be written; a file that exists is left.
    """
    if sqlite_file(url) is None:
        raise StorageError(
            f"database {show_url(url)} is on a PostgreSQL server, and only SQLite files can be "
            f"copied here: use pg_dump --format=custom --file={file} {_libpq(url)}"
        )
    if not file.parent.is_dir():
        raise StorageError(f"copy {file}: folder {file.parent} does not exist: create it")
    try:
        file.touch(exist_ok=False)
    except FileExistsError as error:
        raise StorageError(f"copy {file} already exists: choose another file") from error
    except OSError as error:
        raise StorageError(f"copy {file} cannot be written: {error.strerror}") from error
    try:
        with closing(sqlite3.connect(file)) as copy, engine.connect() as connection:
            # In one step, so through one view of the file: what is written meanwhile is not in it.
            connection.connection.driver_connection.backup(copy)  # type: ignore[union-attr]
    except sqlite3.Error as error:
        file.unlink()
        raise StorageError(f"copy {file} cannot be written: {error}") from error
