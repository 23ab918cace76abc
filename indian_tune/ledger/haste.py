"""Shorter time limits for the database after the user has asked to stop.

While a study is searched, a server that fails over is waited for for minutes. Whoever has pressed
Ctrl-C waits for the end of an epoch, not for that.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# How long one answer may take then.
PATIENCE_SECONDS = 5.0


class _Haste:
    """What this process was asked: it has one user."""

    asked: Callable[[], bool] | None = None
    since: float | None = None
    given_up = False


@contextmanager
def hurried_when(asked: Callable[[], bool]) -> Iterator[None]:
    """Have little patience within the block as soon as somebody has asked to stop.

    Args:
        asked: whether they have; called often.
    """
    before = _Haste.asked, _Haste.since, _Haste.given_up
    _Haste.asked, _Haste.since, _Haste.given_up = asked, None, False
    try:
        yield
    finally:
        _Haste.asked, _Haste.since, _Haste.given_up = before


def in_haste() -> bool:
    """Whether nothing is to be tried again."""
    if _Haste.since is None and _Haste.asked is not None and _Haste.asked():
        _Haste.since = time.monotonic()
    return _Haste.since is not None


def waited_enough(since: float) -> bool:
    """Whether an answer has been waited for long enough.

    Args:
        since: when that began, by the monotonic clock.
    """
    if not in_haste():
        return False
    assert _Haste.since is not None
    return time.monotonic() - max(since, _Haste.since) > PATIENCE_SECONDS


def give_up() -> None:
    """Ask the database nothing more in this block: it does not answer."""
    _Haste.given_up = True


def given_up() -> bool:
    """Whether the database was given up after somebody asked to stop."""
    return _Haste.given_up
