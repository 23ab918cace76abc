"""Workers that Ray places: each trains several runs together, and uses the database itself."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.processes import (
    DEATHS_PER_MINUTE,
    END_SECONDS,
    MINUTE_SECONDS,
    TICK_SECONDS,
    ProcessEngine,
    record_dead,
)
from indian_tune.engines.ray.actor import lent_device
from indian_tune.errors import EngineError, IndianTuneError
from indian_tune.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from indian_tune.engines.settings import WorkerSettings

logger = logging.getLogger(__name__)

# Groups of calls that an actor answers while its worker trains.
GROUPS = {"said": 1, "stop": 1}
# How long it waits for something to say.
SAY_SECONDS = 1.0


class WorkerActor:
    """Keeps one worker process on what Ray has lent it."""

    def __init__(self) -> None:
        self._interrupt = Interrupt()
        self._said = _Said()
        package = logging.getLogger("indian_tune")
        package.addHandler(self._said)
        # They are shown by the program that searches.
        package.propagate = False

    def run(self, settings: WorkerSettings) -> None:
        """Train until the study is done, or :meth:`stop`.

        Args:
            settings: of the worker, without its device.
        """
        settings = replace(settings, device=lent_device())
        with Ledger.open(settings.storage, patient=True) as ledger:
            # An actor that was lost here may have taken its worker along.
            record_dead(ledger, ledger.study(settings.study))
        try:
            ProcessEngine([settings]).run(self._interrupt, lambda: None)
        finally:
            self._said.ends = True

    def stop(self) -> None:
        """Ask the worker to stop after its epoch."""
        self._interrupt.requests += 1

    def said(self) -> list[tuple[int, str]]:
        """Return level and text of what was logged since the last call."""
        return self._said.take()


class _Said(logging.Handler):
    """Keeps warnings and errors until somebody asks.

    Attributes:
        ends: whether nothing more will be said.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[tuple[int, str]] = deque()
        self.ends = False

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append((record.levelno, record.getMessage()))

    def take(self) -> list[tuple[int, str]]:
        until = time.monotonic() + SAY_SECONDS
        while not (self._lines or self.ends) and time.monotonic() < until:
            time.sleep(TICK_SECONDS)
        return [self._lines.popleft() for _ in range(len(self._lines))]


@dataclass
class _Hosted:
    """An actor, as the program that searches sees it.

    Attributes:
        actor: its handle.
        end: comes when its worker has ended.
        asked: its next answer to ``said``.
        started: when it has answered first, by the monotonic clock; ``None`` while it may only wait
            for its place on the cluster.
    """

    actor: Any
    end: Any
    asked: Any
    started: float | None = None


@dataclass
class Placement:
    """Keeps as many workers on a cluster as it has room for.

    Args:
        settings: of each worker.
        demand: what an actor is lent: ``num_cpus`` and ``num_gpus``.
        slots: returns how many actors there may be, those that wait for a place included.
    """

    settings: WorkerSettings
    demand: Mapping[str, float]
    slots: Callable[[], int]
    _hosted: list[_Hosted] = field(default_factory=list)
    _deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_PER_MINUTE))

    def __post_init__(self) -> None:
        given, data_dir = self.settings, self.settings.data_dir
        # An actor of a cluster that was joined is in the folder in which that was started.
        self.settings = replace(
            given,
            artifacts=given.artifacts.absolute(),
            data_dir=None if data_dir is None else data_dir.absolute(),
        )

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work until the study is done or interrupted.

        Raises:
            EngineError: a worker ended with an error, or actors are lost too often.
            InputError: what a worker was given cannot be used.
        """
        ending = False
        try:
            while True:
                if not ending:
                    while len(self._hosted) < self.slots():
                        self._start()
                done = self._take_ended()
                if not ending and (done or interrupt.requested):
                    # A worker ends by itself when nothing is left for any of them.
                    ending = True
                    for hosted in self._hosted:
                        if interrupt.requested:
                            hosted.actor.stop.options(concurrency_group="stop").remote()
                if ending:
                    self._dismiss(each for each in self._hosted if each.started is None)
                tick()
                if ending and not self._hosted:
                    return
        finally:
            self._dismiss(self._hosted)

    def _start(self) -> None:
        remote: Any = ray.remote
        actor = remote(concurrency_groups=GROUPS, **self.demand)(WorkerActor).remote()
        end, asked = actor.run.remote(self.settings), self._ask(actor)
        self._hosted.append(_Hosted(actor, end, asked))

    def _ask(self, actor: Any) -> Any:
        return actor.said.options(concurrency_group="said").remote()

    def _take_ended(self) -> bool:
        """Wait a moment; return whether a worker has ended because nothing is left to do."""
        refs = [each.end for each in self._hosted]
        ended, _ = ray.wait(refs, num_returns=1, timeout=TICK_SECONDS)
        done = False
        for hosted in list(self._hosted):
            self._relay(hosted)
            if hosted.end in ended:
                self._hosted.remove(hosted)
                done |= self._ended(hosted)
        return done

    def _ended(self, hosted: _Hosted) -> bool:
        """Return whether a worker has ended by itself, not with its actor.

        Raises:
            EngineError: see :meth:`run`.
            InputError: likewise.
        """
        try:
            ray.get(hosted.end)
        except RayTaskError as failed:
            self._relay(hosted, patience=END_SECONDS)
            if isinstance(failed.cause, IndianTuneError):
                raise failed.cause from None
            raise EngineError(f"a worker on Ray failed: {failed.cause!r}") from failed
        except RayError as lost:
            # Not only RayActorError: Ray ends actors of a node that is short of memory by another.
            reason = (str(lost).strip().splitlines() or ["no reason given"])[0].rstrip(".")
            now = time.monotonic()
            if hosted.started is None or now - hosted.started < MINUTE_SECONDS:
                # A node that is lost takes many along at once: those that worked do not count.
                self._deaths.append(now)
            if len(self._deaths) == DEATHS_PER_MINUTE and now - self._deaths[0] < MINUTE_SECONDS:
                raise EngineError(
                    f"{DEATHS_PER_MINUTE} actors of Ray were lost within a minute, the last with: "
                    f"{reason}. The records are kept"
                ) from lost
            logger.warning(
                "an actor of Ray with a worker was lost (%s): other workers take its trials over, "
                "and another one is started",
                reason,
            )
            return False
        self._relay(hosted, patience=END_SECONDS)
        return True

    def _relay(self, hosted: _Hosted, patience: float = 0.0) -> None:
        """Log here what an actor has logged, once it answers."""
        answered, _ = ray.wait([hosted.asked], timeout=patience)
        if not answered:
            return
        try:
            lines = ray.get(hosted.asked)
        except RayError:
            # Its end says so too.
            return
        hosted.started = hosted.started or time.monotonic()
        for level, text in lines:
            logger.log(level, "%s", text)
        if not patience:
            hosted.asked = self._ask(hosted.actor)

    def _dismiss(self, gone: Iterable[_Hosted]) -> None:
        for hosted in list(gone):
            ray.kill(hosted.actor)
            self._hosted.remove(hosted)
