"""Ctrl-C and SIGTERM: once to finish the epoch and stop, twice to stop now."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class StoppedNow(KeyboardInterrupt):
    """The user has asked a second time to stop."""


def is_from_user(error: BaseException) -> bool:
    """Whether an exception is the user's Ctrl-C, and not one that a model has raised.

    Where Python's own handler answers Ctrl-C, a KeyboardInterrupt is taken for one.
    """
    if isinstance(error, StoppedNow):
        return True
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(error, KeyboardInterrupt) and handler is signal.default_int_handler


class Interrupt:
    """Whether, and how firmly, the user has asked to stop."""

    def __init__(self) -> None:
        self.requests = 0

    @property
    def requested(self) -> bool:
        """Whether to stop at the next epoch."""
        return self.requests > 0


@contextmanager
def interruptible(on_first: Callable[[], None]) -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM within the block.

    Args:
        on_first: called at the first request. The second raises StoppedNow.
    """
    interrupt = Interrupt()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        interrupt.requests += 1
        if interrupt.requests > 1:
            raise StoppedNow
        on_first()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
