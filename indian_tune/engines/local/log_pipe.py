"""Sends the log of a worker process to its parent, which alone writes to the terminal.

One pipe per worker: a queue that all share has a lock, and a worker killed while it holds the lock
would silence the others for ever.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from indian_tune.ledger.outage import OUTAGE

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_PACKAGE = "indian_tune"


class _PipeHandler(logging.Handler):
    """Sends every record, as plain values, into a pipe."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a parent that is gone hears nothing."""
        try:
            away, back = (getattr(record, name, None) for name in ("away_at", "back_at"))
            self._pipe.send((record.name, record.levelno, self.format(record), away, back))
        except OSError:
            # Nobody reads the pipe any more, and a traceback would only look like a fault.
            return


def send_log(pipe: Connection, level: int) -> None:
    """Send this process's log into a pipe instead of writing it.

    Args:
        pipe: writing end.
        level: below which this package's records are dropped.
    """
    root = logging.getLogger()
    root.handlers[:] = [_PipeHandler(pipe)]
    logging.getLogger(_PACKAGE).setLevel(level)


def relay_log(pipe: Connection) -> str | None:
    """Log here what a worker has sent so far; returns at once.

    Returns:
        How the worker says that it ends, ``None`` as long as it does not: its process's exit
        status tells nothing, since a model can end the process with any.
    """
    try:
        while pipe.poll():
            sent = pipe.recv()
            if isinstance(sent, str):
                return sent
            name, level, text, away, back = sent
            # All workers tell of a database that is away.
            if away is not None:
                OUTAGE.away(text, away)
            elif back is not None:
                OUTAGE.back(back)
            else:
                logging.getLogger(name).log(level, "%s", text)
    except (EOFError, OSError):
        # The worker is gone; what it had half-written cannot be read.
        pass
    return None


def log_level() -> int:
    """Return the level that this package logs at."""
    return logging.getLogger(_PACKAGE).getEffectiveLevel()
