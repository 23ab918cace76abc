"""Tells of a database that does not answer, once for all that wait for it.

One line when it goes, one a minute while it is away, one when it is back. Every thread of a worker
meets the same outage, and every worker of a search, whose logs come together in one process.
"""

from __future__ import annotations

import logging
import math
import threading
import time

logger = logging.getLogger(__name__)

# How often it is told that it is still away.
TELL_SECONDS = 60.0


class Outage:
    """Whether the database is away, as far as this process has told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = 0.0
        self._back = -math.inf

    def away(self, text: str, at: float | None = None) -> None:
        """Tell that it does not answer, unless that was told less than a minute ago.

        Args:
            text: what is told.
            at: when that was seen, by the machine's monotonic clock; ``None`` for now.
        """
        at = time.monotonic() if at is None else at
        with self._lock:
            # What a worker saw may be heard later than that the database is back.
            if at <= self._back:
                return
            if self._since is None:
                self._since = at
            elif at - self._told < TELL_SECONDS:
                return
            self._told = at
        logger.warning("%s", text, extra={"away_at": at})

    def back(self, at: float | None = None) -> None:
        """Tell that it answers, if it was told to be away.

        Args:
            at: see :meth:`away`.
        """
        at = time.monotonic() if at is None else at
        with self._lock:
            if self._since is None or at < self._since:
                return
            seconds, self._since, self._back = at - self._since, None, at
        said = f"the database answers again after {seconds:.1f} s"
        logger.warning("%s", said, extra={"back_at": at, "notice": True})


OUTAGE = Outage()
"""Of this process."""
