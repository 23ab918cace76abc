"""How the epochs of several runs are computed on one device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.training.live import LiveRun
    from indian_tune.training.run import EpochRecord

CHECK_EVERY = 100
"""Steps between two looks at whether the losses are finite; each look waits for the device."""


class Execution(Protocol):
    """Trains runs by whole epochs.

    Implementations hold nothing of a run between two calls: all that is a run's own is in its
    ``LiveRun``, so that any run can be trained, or not, in any call, and be saved between two.
    """

    @property
    def description(self) -> str:
        """What the bits of a run depend on: the way, and the shape of what is computed at once."""
        ...

    def advance(self, lives: Sequence[LiveRun]) -> list[EpochRecord]:
        """Train an epoch of each run and measure it.

        Args:
            lives: active runs.

        Returns:
            Their records, in turn.
        """
        ...
