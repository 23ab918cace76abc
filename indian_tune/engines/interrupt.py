"""Ctrl-C and SIGTERM: once to finish the epoch and stop, twice to stop now.

SIGUSR1 does the same where a scheduler sends it before a time limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from indian_tune.engines.process_info import isolated_python
from indian_tune.ledger.haste import hurried_when

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# What is left after the second request for an orderly end; then the guard kills.
GUARD_SECONDS = 7.0
# Kept from before own code is imported: while that may run, os._exit reports that it ended us.
_exit = os._exit


class StoppedNow(KeyboardInterrupt):
    """The user has asked a second time to stop."""


class Stalled(KeyboardInterrupt):
    """What runs in this process makes no progress, and has been given up.

    No Exception, which the code that hangs might answer by trying again.
    """


def is_from_user(error: BaseException) -> bool:
    """Whether an exception is the user's Ctrl-C or the watchdog's, and not one of a model.

    Where Python's own handler answers Ctrl-C, a KeyboardInterrupt is taken for one.
    """
    if isinstance(error, StoppedNow | Stalled):
        return True
    handler = signal.getsignal(signal.SIGINT)
    return isinstance(error, KeyboardInterrupt) and handler is signal.default_int_handler


class Interrupt:
    """Whether, and how firmly, the user has asked to stop.

    Args:
        go_on: the command that goes on afterwards, for whoever must end the process.

    Attributes:
        stopped: whether the program stops for a reason of its own.
        by_notice: whether it was a scheduler that asked, before a time limit.
    """

    def __init__(self, go_on: str = "") -> None:
        self.requests = 0
        self.go_on = go_on
        self.stopped = False
        self.by_notice = False

    @property
    def requested(self) -> bool:
        """Whether to stop at the next epoch."""
        return self.stopped or self.requests > 0


@contextmanager
def interruptible(
    on_first: Callable[[], None], go_on: str = "", *, notice: bool = False
) -> Iterator[Interrupt]:
    """Catch SIGINT and SIGTERM within the block.

    Args:
        on_first: called at the first request. The second raises StoppedNow. If the block has not
            ended some seconds later, this process is killed with all that it has started.
        go_on: the command that continues, which is told when that happens.
        notice: whether SIGUSR1 asks, too.
    """
    interrupt = Interrupt(go_on)

    def handle(number: int, _frame: FrameType | None) -> None:
        interrupt.requests += 1
        interrupt.by_notice |= number == signal.SIGUSR1
        if interrupt.requests > 1:
            raise StoppedNow
        on_first()

    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread alone.
        yield interrupt
        return
    with guarded(go_on), hurried_when(lambda: interrupt.requested):
        asking = (signal.SIGINT, signal.SIGTERM, *((signal.SIGUSR1,) if notice else ()))
        before = {number: signal.signal(number, handle) for number in asking}
        try:
            yield interrupt
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def guarded(go_on: str = "") -> Iterator[None]:
    """Be watched by a process that learns of every signal, whoever holds the interpreter.

    It kills this process, and all that this one has started, some seconds after the second request
    to stop. What the first one does is left as it is. In another thread than the main one, which
    alone learns of signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    said = "It did not stop and was killed; the records are kept."
    if go_on:
        said = f"{said} Continue with:\n{go_on}"
    guard = subprocess.Popen(  # noqa: S603 - a program of ours
        [
            *isolated_python(),
            Path(__file__).with_name("guard.py"),
            *(str(os.getpid()), str(GUARD_SECONDS), said),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    with guard, guard.stdin as pipe:
        guard.stdout.readline()
        os.set_blocking(pipe.fileno(), False)
        before = signal.set_wakeup_fd(pipe.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)


def end_at_once(status: int) -> NoReturn:
    """End this process without waiting for anything: threads of a model, a database."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _exit(status)
