"""Addresses of databases: parsed from users, and displayed without passwords.

Raises only StorageError, and never shows a password.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from indian_tune.errors import StorageError

DEFAULT_STORAGE = "sqlite:///indian-tune.db"
STORAGE_VARIABLE = "INDIAN_TUNE_STORAGE"

_UNREADABLE = (
    "the database address in --storage or INDIAN_TUNE_STORAGE is not valid: write sqlite:///FILE "
    "or postgresql+psycopg://USER@HOST/DATABASE"
)
# An address with a slash too few, or the words of a PostgreSQL connection string.
_LIKE_ADDRESS = re.compile(
    r"^(?:postgres(?:ql)?|mysql|sqlite)(?:\+\w+)?:|(?:^|\s)password\s*="
    # A server without its scheme: as a file name it would be looked for, or even made.
    r"|^(?:[^/@]+@)?[\w.-]+:\d+/|^[\w.%:-]+@[\w.-]+/"
)


def storage_url(option: str | None = None) -> URL:
    """Return the address of the database: option, then environment, then the default.

    Args:
        option: SQLAlchemy address or a plain file name, as given by the user.

    Raises:
        StorageError: the address cannot be read or names a database that is not supported.
    """
    text = option or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise StorageError(
            "--storage or INDIAN_TUNE_STORAGE contains bytes that are not UTF-8: give another "
            "address or file name"
        ) from error
    if "\0" in (unquote(text) if "://" in text else text):
        raise StorageError("--storage or INDIAN_TUNE_STORAGE contains a NUL character: remove it")
    # Taken for a file name, it would be shown with the password that may be in it.
    unreadable = "://" not in text and _LIKE_ADDRESS.search(text)
    if unreadable and not Path(text.partition("/")[0]).is_dir():
        raise StorageError(_UNREADABLE)
    try:
        # A plain file name may hold any character that has a meaning in an address.
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise StorageError(_UNREADABLE) from error
    backend = url.get_backend_name()
    # Some hosting services write postgres://.
    if backend in ("postgres", "postgresql"):
        if "@" in (url.host or ""):
            raise StorageError(
                "the database address in --storage or INDIAN_TUNE_STORAGE contains more than one "
                "@: write an @ in a user name or a password as %40"
            )
        if "@" in (url.database or ""):
            # Part of it may be a password.
            raise StorageError(
                "the database address in --storage or INDIAN_TUNE_STORAGE contains an @ after "
                "the host: in a user name or a password, write @ as %40 and / as %2F"
            )
        try:
            (url.host or "").encode("idna")
        except UnicodeError as error:
            raise StorageError(
                f"host {url.host!r} in --storage or INDIAN_TUNE_STORAGE is not a valid host name: "
                "correct it"
            ) from error
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StorageError(
            f"database type {backend!r} in --storage or INDIAN_TUNE_STORAGE is not supported: use "
            "sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        )
    if url.database in (None, "", ":memory:"):
        raise StorageError(
            f"storage {text!r} does not name a file, and a study must be kept after its process "
            "ends: write sqlite:///FILE"
        )
    if url.query.get("uri"):
        return url
    # Code of the user's that changes the current folder must not lead to a second database.
    return url.set(database=str(Path(url.database or "").absolute()))


def needed_option(address: str) -> str | None:
    """Return what ``--storage`` must be for a command to find a database; ``None`` for nothing.

    Args:
        address: as it is shown.
    """
    try:
        usual = show_url(storage_url())
    except StorageError:
        return address
    return None if address == usual else address


def command_line(address: str, *words: str) -> str:
    """Return another command about a database, quoted for a shell.

    Args:
        address: as it is shown; it is named where the command would not find the database else.
        *words: of the command, from its name on.
    """
    storage = needed_option(address)
    named = [] if storage is None else ["--storage", storage.replace(":***@", "@")]
    return shlex.join(["indian-tune", *words, *named])


def show_url(url: URL) -> str:
    """Return the address as it may be shown: without its password."""
    secret = [name for name in url.query if name in ("password", "sslpassword")]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def sqlite_file(url: URL) -> Path | None:
    """Return the file of an SQLite database, ``None`` for a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def has_database(storage: str | None) -> bool:
    """Whether a database was named, or the default one is there."""
    file = sqlite_file(storage_url(storage))
    return storage is not None or file is None or file.exists()


def reached_only_here(url: URL) -> str | None:
    """Return why only this machine can use a database; ``None`` if others may reach it."""
    file = sqlite_file(url)
    if file is not None:
        return f"database {file} is an SQLite file"
    if "service" in url.query:
        return None
    # Without a host, it is a socket in this machine's file system.
    host = url.host or url.query.get("host") or os.environ.get("PGHOST", "")
    if host in ("localhost", "::1", "") or str(host).startswith(("127.", "/")):
        return f"the database's host, {host or 'not given'}, is this machine itself"
    return None
