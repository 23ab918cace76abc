"""Tasks that take turns on a virtual clock, in an order that a seed draws."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import greenlet

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


class Scheduler:
    """Runs tasks one at a time; each gives up its turn by sleeping on the virtual clock.

    Args:
        draw: decides whose turn it is of those that wake at one time.
    """

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._hub = greenlet.getcurrent()
        self._due: list[tuple[float, float, int, greenlet.greenlet]] = []
        self._count = 0
        self.now = 0.0

    def spawn(self, task: Callable[[], None], delay: float = 0.0) -> None:
        """Let a task begin after a time."""
        self._wake(greenlet.greenlet(task, parent=self._hub), delay)

    def sleep(self, seconds: float) -> None:
        """Give up the turn of the task that calls, for a time."""
        self._wake(greenlet.getcurrent(), seconds)
        self._hub.switch()

    def run(self, until: Callable[[], bool]) -> None:
        """Give turns until none is left, or as soon as something holds."""
        while self._due and not until():
            self.now, _, _, task = heapq.heappop(self._due)
            task.switch()

    def close(self) -> None:
        """End all tasks where they are."""
        while self._due:
            task = heapq.heappop(self._due)[-1]
            if task and not task.dead:
                task.throw(greenlet.GreenletExit)

    def _wake(self, task: greenlet.greenlet, delay: float) -> None:
        self._count += 1
        due = (self.now + max(delay, 0.0), self._draw.random(), self._count, task)
        heapq.heappush(self._due, due)
