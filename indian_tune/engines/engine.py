"""What every engine is: a place where trials execute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.interrupt import Interrupt


class Engine(Protocol):
    """Decides where the runs of a study execute, and nothing else."""

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work on the study until it is done or interrupted.

        Args:
            interrupt: looked at after every epoch.
            tick: called now and then (at least once a second or once an epoch), to show progress.

        Raises:
            EngineError: the workers cannot be kept alive.
        """
        ...
