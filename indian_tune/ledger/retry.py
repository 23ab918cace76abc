"""Repeats a transaction when the database was unreachable or busy for a moment.

A server that restarts, a connection that breaks, a deadlock that was resolved at our cost: the
whole transaction is repeated, with longer and longer pauses, for a bounded time. An answer may
be lost after the commit, so every transaction of the ledger may be done twice with one effect.
"""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import sqlalchemy as sa

from indian_tune.errors import DatabaseLostError, LedgerError, StorageError
from indian_tune.ledger.haste import give_up, given_up, in_haste
from indian_tune.ledger.outage import OUTAGE

if TYPE_CHECKING:
    from collections.abc import Callable

# A server that is restarted is back within seconds, one that fails over within a minute.
PATIENCE_SECONDS = 120.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

# PostgreSQL's classes of errors that pass: connection exceptions (08), too many connections,
# serialization failures and deadlocks, a server that shuts down, crashed or is starting up, and
# the server's limits of time: statement, lock, idle session, idle transaction, transaction.
_TRANSIENT_STATES = (
    *("08", "53300", "40001", "40P01", "57P01", "57P02", "57P03"),
    *("57014", "55P03", "57P05", "25P03", "25P04"),
)
_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6

T = TypeVar("T")
P = ParamSpec("P")


def database_error(error: BaseException | None) -> sa.exc.DBAPIError | None:
    """Return the error of the database that an error is, or was raised from."""
    while error is not None and not isinstance(error, sa.exc.DBAPIError):
        error = error.__cause__
    return error


def is_transient(error: BaseException | None) -> bool:
    """Whether the same transaction may well succeed a moment later."""
    error = database_error(error)
    if error is None:
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        # The upper bits say in what way it was busy.
        return (code & 0xFF) in (_SQLITE_BUSY, _SQLITE_LOCKED)
    state = getattr(error.orig, "sqlstate", "")
    if state is None:
        # The server did not answer, so it gave no state: no connection, or one that broke.
        return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return error.connection_invalidated or state.startswith(_TRANSIENT_STATES)


def retry_transient(do: Callable[[], T]) -> T:
    """Return what ``do`` returns, calling it again after errors that pass.

    Args:
        do: one or more whole transactions that may be repeated; says what went wrong with a
            StorageError.

    Raises:
        StorageError: the error does not pass, or somebody has asked to stop.
        DatabaseLostError: it has not passed within ``PATIENCE_SECONDS``.
    """
    if given_up():
        raise StorageError("the database did not answer in time after the request to stop")
    pause = FIRST_PAUSE_SECONDS
    deadline: float | None = None
    while True:
        try:
            answer = do()
        except StorageError as error:
            if not is_transient(error):
                raise
            if in_haste():
                give_up()
                raise
            now = time.monotonic()
            if deadline is None:
                deadline = now + PATIENCE_SECONDS
            elif now >= deadline:
                raise DatabaseLostError(
                    f"{error}\n"
                    f"It was tried again for {PATIENCE_SECONDS:.0f} s. Earlier records are safe: "
                    "run the same command again when the database answers"
                ) from error
            reason = str(error).splitlines()[0]
            OUTAGE.away(f"{reason}; trying again for up to {deadline - now:.0f} s")
            # Workers that lost the server together should not come back together.
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        except LedgerError:
            OUTAGE.back()
            raise
        else:
            OUTAGE.back()
            return answer


def transaction(method: Callable[P, T]) -> Callable[P, T]:
    """Mark a method as one whole transaction that is repeated after errors that pass."""

    @functools.wraps(method)
    def patient(*args: P.args, **kwargs: P.kwargs) -> T:
        return retry_transient(lambda: method(*args, **kwargs))

    return patient
