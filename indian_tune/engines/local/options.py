"""Options of the engines on this machine."""

from __future__ import annotations

from abc import ABC
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from indian_tune.engines.devices import worker_devices
from indian_tune.engines.engine import EngineOptions

if TYPE_CHECKING:
    from indian_tune.engines.settings import WorkerSettings


class PackOptions(EngineOptions, ABC):
    """How many runs a worker trains side by side."""

    lanes: int | None = Field(
        default=None,
        ge=1,
        description="Runs that one worker trains side by side; on a GPU None measures, and with "
        "Ray it packs only the seeds of a trial.",
    )
    shrink_packs: bool = Field(
        default=False, description="Whether fewer runs than lanes go into a smaller pack."
    )


class LocalOptions(PackOptions, ABC):
    """Which devices train, and how many runs side by side."""

    devices: str = Field(default="auto", description="auto, cpu, or a list such as cuda:0,cuda:1.")

    def worker_settings(
        self, settings: WorkerSettings, workers: int | None
    ) -> list[WorkerSettings]:
        """Return the settings of each worker.

        Args:
            settings: what they share.
            workers: how many; ``None`` for one per GPU, or as many as the cores allow.

        Raises:
            InputError: a device is not here.
        """
        return [
            replace(settings, device=device, lanes=self.lanes, shrink=self.shrink_packs)
            for device in worker_devices(self.devices, workers, settings.threads)
        ]
