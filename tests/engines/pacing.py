"""Workers that begin no epoch before the test has looked since the one before.

How many epochs a worker trains between two looks depends on the machine: a test that does something
in the middle of a run would come too late on a fast one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from indian_tune.engines.local.processes import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.training import EpochRecord, Trainer


def looks_file(settings: WorkerSettings) -> Path:
    """Return the file that grows by a byte with every look."""
    return settings.artifacts.with_name("looks")


def looking(settings: WorkerSettings, look: Callable[[], None]) -> Callable[[], None]:
    """Return a tick for the engine of paced workers, which looks and then lets them continue."""
    file = looks_file(settings)
    file.touch()

    def tick() -> None:
        look()
        with file.open("ab") as looks:
            looks.write(b".")

    return tick


def train_paced(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Do what a worker does, at that pace."""
    from indian_tune.training import Trainer

    file = looks_file(settings)
    seen = file.stat().st_size
    advance = Trainer.advance

    def paced(trainer: Trainer, keys: Iterable[str] | None = None) -> list[EpochRecord]:
        nonlocal seen
        while file.stat().st_size == seen and not should_stop():
            time.sleep(0.01)
        seen = file.stat().st_size
        return advance(trainer, keys)

    Trainer.advance = paced  # type: ignore[method-assign, assignment]
    train(settings, should_stop)
