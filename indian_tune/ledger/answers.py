"""Connections to PostgreSQL with time limits on answers.

libpq's own limits are the kernel's: they notice a network that fails, but not a server, or a
program between, that acknowledges what it is sent and never answers.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import waiting

from indian_tune.ledger.haste import waited_enough

if TYPE_CHECKING:
    from collections.abc import Generator

T = TypeVar("T")

# How often a wait looks at the clock, and at Ctrl-C.
_LOOK_SECONDS = 0.1


class AnsweringConnection(psycopg.Connection[Any]):
    """A connection that breaks when nothing comes for too long.

    Attributes:
        silence: seconds without an answer after which it is closed; ``None`` for no limit.
    """

    silence: float | None = None

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        """Do what psycopg waits for in the socket.

        Raises:
            OperationalError: there was no answer; the connection is closed.
        """
        try:
            return waiting.wait(
                _limited(gen, self.silence or math.inf), self.pgconn.socket, interval=_LOOK_SECONDS
            )
        except (_NoAnswerError, KeyboardInterrupt):
            # Nothing more is asked of a server that may not answer: not to cancel, as psycopg
            # would after Ctrl-C, and not to roll back, as a closed connection does.
            self.pgconn.finish()
            raise


class _NoAnswerError(psycopg.OperationalError):
    pass


def _limited(waits: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    """Wait as a generator of psycopg's asks for, but not longer for one thing."""
    began = time.monotonic()
    until = began + seconds
    try:
        wanted = next(waits)
        while True:
            ready = yield wanted
            if ready:
                began = time.monotonic()
                until = began + seconds
            elif time.monotonic() >= until:
                raise _NoAnswerError(f"no answer from the server for {seconds:g} s")
            elif waited_enough(began):
                raise _NoAnswerError("no answer from the server after the request to stop")
            wanted = waits.send(ready)
    except StopIteration as end:
        answer: T = end.value
        return answer
