"""The interface of an engine: a record of options that makes a place where trials execute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.settings import WorkerSettings


class Engine(Protocol):
    """Decides where the runs of a study execute, and nothing else."""

    @property
    def place(self) -> str:
        """Where that is, to end a sentence that begins with ``starting``, such as ``2 workers``."""
        ...

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work on the study until it is done or interrupted.

        Args:
            interrupt: looked at after every epoch.
            tick: called now and then (at least once a second or once an epoch), to show progress.

        Raises:
            EngineError: the workers cannot be kept alive.
        """
        ...


@runtime_checkable
class PreparedEngine(Engine, Protocol):
    """An engine that has something slow to start, such as processes that import torch."""

    def prepared(self) -> AbstractContextManager[None]:
        """Start it while the study is still being opened; it is ended after the block."""
        ...


class EngineOptions(BaseModel, ABC):
    """The options of one engine, which refuses all others.

    Each has a default, a description and bounds. Texts from a command line are converted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    INSTEAD: ClassVar[Mapping[str, str]] = {}
    """What to do in place of giving an option of another engine: option → advice."""
    TRAINS_HERE: ClassVar[bool] = False
    """Whether it trains in the process of the search, where no other search trains meanwhile."""

    @abstractmethod
    def make(self, settings: WorkerSettings) -> Engine:
        """Return the engine; called before anything is written.

        Args:
            settings: of each worker; the engine fills in the device and what else it decides.

        Raises:
            InputError: it could not work here, such as for want of a device.
        """
