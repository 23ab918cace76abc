"""Tells of a database that does not answer, once for all that wait for it.

One line when it goes, one a minute while it is away, one when it is back. Every thread of a worker
meets the same outage, and every worker of a search, whose logs come together in one process.
"""

from __future__ import annotations

import logging
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

    def away(self, text: str) -> None:
        """Tell that it does not answer, unless that was told less than a minute ago.

        Args:
            text: what is told.
        """
        now = time.monotonic()
        with self._lock:
            if self._since is None:
                self._since = now
            elif now - self._told < TELL_SECONDS:
                return
            self._told = now
        logger.warning("%s", text, extra={"outage": True})

    def back(self, text: str | None = None) -> None:
        """Tell that it answers, if it was told to be away.

        Args:
            text: what is told; ``None`` for how long it was away.
        """
        with self._lock:
            if self._since is None:
                return
            seconds, self._since = time.monotonic() - self._since, None
        said = text or f"the database answers again after {seconds:.1f} s"
        logger.warning("%s", said, extra={"outage": False, "notice": True})

    def given_up(self) -> None:
        """Take in that it is waited for no longer; whoever waited says so."""
        with self._lock:
            self._since = None


OUTAGE = Outage()
"""Of this process."""
