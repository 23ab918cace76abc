"""Ends a command that does not end by itself after the second request to stop.

A program of its own, started by `interruptible`: where a model, a driver or SQLite keeps the main
thread in C, no Python of that process runs any more. It learns of signals from the interpreter's
wake-up descriptor, and of Ctrl-C from the terminal, too, whatever the other does with signals.

Arguments: the process to watch, the seconds that it has after the second request, and what to say
before it is killed. It is done when its standard input ends or the process is gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

_REQUESTS = (signal.SIGINT, signal.SIGTERM)
_LOOK_SECONDS = 1.0


def main(watched: int, seconds: float, said: str) -> None:
    """Wait, and kill if it comes to that."""
    seen = [0]

    def count(_number: int, _frame: object) -> None:
        seen[0] += 1

    for number in _REQUESTS:
        signal.signal(number, count)
    # It is at work only now, and must not miss a signal.
    print(flush=True)
    told = 0
    deadline: float | None = None
    while os.getppid() == watched:
        if deadline is None and max(told, seen[0]) > 1:
            deadline = time.monotonic() + seconds
        left = _LOOK_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            _kill(watched, said)
            return
        if select.select([0], [], [], min(left, _LOOK_SECONDS))[0]:
            numbers = os.read(0, 64)
            if not numbers:
                return
            told += sum(number in _REQUESTS for number in numbers)


def _kill(watched: int, said: str) -> None:
    victims = []
    with contextlib.suppress(Exception):
        import psutil

        victims = [child.pid for child in psutil.Process(watched).children(recursive=True)]
    with contextlib.suppress(OSError):
        os.write(2, f"{said}\n".encode())
    for pid in (*victims, watched):
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
