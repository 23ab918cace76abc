"""The inline engine: one worker in this process, for tests and for debugging a problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.engines.devices import check_unconfined
from indian_tune.engines.interrupt import Stalled, is_from_user
from indian_tune.engines.local.options import LocalOptions
from indian_tune.engines.worker import work
from indian_tune.errors import DeviceLostError, EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.settings import WorkerSettings


class InlineOptions(LocalOptions):
    """Options of the inline engine, which has one device."""

    TRAINS_HERE = True

    def make(self, settings: WorkerSettings) -> InlineEngine:
        """Return the engine.

        Raises:
            InputError: the device is not here, is a slice of a GPU that this process does not see,
                or there are several.
        """
        if "," in self.devices:
            raise InputError(
                f"--devices = {self.devices} names several devices, but --engine inline uses one: "
                "name one, or use --engine optuna"
            )
        (own,) = self.worker_settings(settings, 1)
        check_unconfined(own.device)
        return InlineEngine(own)


class InlineEngine:
    """Runs one worker in the calling thread."""

    place = "in this process"

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work until the study is done or interrupted.

        Raises:
            EngineError: own code tried to end this process, or made no progress.
        """
        try:
            work(self._settings, lambda: interrupt.requested, on_epoch=tick)
        except DeviceLostError as error:
            raise DeviceLostError(
                f"{error}: its trials have checkpoints, so run the same command again to continue"
            ) from error
        except Stalled as stalled:
            raise EngineError(
                f"{stalled}: its attempt ended, but no process was killed"
            ) from stalled
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as error:
            if is_from_user(error):
                raise
            raise EngineError(f"user code ended the worker: it raised {error!r}") from error
