"""The local engine: one worker process for each device of a list, kept alive across trials."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from indian_tune.engines import process_info
from indian_tune.engines.devices import confine
from indian_tune.engines.local import fork_server
from indian_tune.engines.local.log_pipe import log_level, relay_log, send_log
from indian_tune.engines.local.options import LocalOptions
from indian_tune.engines.watchdog import LEAST_SECONDS
from indian_tune.errors import (
    DeviceLostError,
    EngineError,
    IndianTuneError,
    InputError,
    StorageError,
)
from indian_tune.ledger import LOST, Ledger
from indian_tune.ledger.haste import hurried_when
from indian_tune.study.completion import held_trials
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from types import FrameType

    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.local.fork_server import ForkedProcess
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.ledger import StudyRecord

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
# A worker that dies is replaced, but a machine on which they die in a row, and nothing gets on in
# between, is not asked for more.
DEATHS_PER_MINUTE = 6
MINUTE_SECONDS = 60.0
# How a worker says that it ends; one that ends without a word has died.
_DONE, _EXPLAINED, _REFUSED = "done", "explained", "refused"
# What to do about one that ends without a word and with status 0, as nothing has killed it.
ENDED_BY_ITSELF = (
    "if no message above says why, look for code of yours that ends the process, such as "
    "os._exit(0), and raise an exception there instead"
)
# How long a worker may take to end its process, in which a model may have left threads, and to end
# its epoch when another one cannot continue.
END_SECONDS = 10.0
# How many workers in a row may hang before they have taken a trial.
STALLED_STARTS = 3


def train(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Do what a worker process is for."""
    from indian_tune.engines.worker import work

    work(settings, should_stop)


@dataclass
class _Worker:
    """A process, and what connects it to this one.

    Attributes:
        process: that works.
        log: carries its log, and at last how it ends.
        lifeline: closing it asks the worker to stop. Nothing is locked, so a worker that is killed
            cannot leave the others waiting, and when we are killed ourselves they stop as well.
        driver: ends with this process, whatever happens to it; the worker is then killed soon.
        begun: when it was started, by the monotonic clock.
        end: how it said that it ends.
    """

    process: SpawnProcess | ForkedProcess
    log: Connection
    lifeline: Connection
    driver: Connection
    begun: float
    end: str | None = None

    def relay(self) -> None:
        """Log here what it has sent so far."""
        self.end = self.end or relay_log(self.log)

    @property
    def died(self) -> bool:
        """Whether its process has ended, with whatever exit status, before its work did."""
        ended = self.process.exitcode is not None
        self.relay()
        return ended and self.end is None


class ProcessOptions(LocalOptions):
    """Options of the engine of worker processes."""

    workers: int | None = Field(
        default=None, ge=1, description="Worker processes; None for one per GPU, or per CPU core."
    )

    def make(self, settings: WorkerSettings) -> ProcessEngine:
        """Return the engine.

        Raises:
            InputError: a device is not here, or this process cannot start others.
        """
        process_info.check_not_daemonic("use --engine inline")
        return ProcessEngine(self.worker_settings(settings, self.workers))


class ProcessEngine:
    """Runs one process per entry of ``settings``, each of which sees its own GPU alone.

    Args:
        settings: of each worker.
        job: what a worker does until its study is done, or it is asked to stop; travels to the
            process by name.
    """

    def __init__(
        self,
        settings: Sequence[WorkerSettings],
        job: Callable[[WorkerSettings, Callable[[], bool]], None] = train,
    ) -> None:
        self._settings = settings
        self._job = job
        # spawn: a fork of this process inherits locks of threads that do not exist in it.
        self._context = multiprocessing.get_context("spawn")
        self._server: fork_server.ForkServer | None = None
        # When each died, and how many epochs the study had by then.
        self._deaths: deque[tuple[float, int]] = deque(maxlen=DEATHS_PER_MINUTE)
        self._stalled_starts = 0

    @property
    def place(self) -> str:
        """How many workers there are."""
        return counted(len(self._settings), "worker")

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Import what workers need in their server, while the caller opens the study."""
        if fork_server.AVAILABLE:
            with without_main():
                self._server = fork_server.ForkServer()
        try:
            yield
        finally:
            self._end_server()

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work until the study is done or interrupted.

        Raises:
            EngineError: a worker ended with an error, or workers die too often or cannot be
                replaced.
            InputError: what a worker was given cannot be used.
        """
        workers: list[_Worker] = []
        try:
            workers += [self._start(each) for each in self._settings]
            while any(worker.end != _DONE for worker in workers):
                time.sleep(TICK_SECONDS)
                for n, worker in enumerate(workers):
                    worker.relay()
                    if interrupt.requested:
                        worker.lifeline.close()
                    elif worker.end == _EXPLAINED:
                        raise EngineError("a worker could not continue; its message is above")
                    elif worker.end == _REFUSED:
                        if self._deaths:
                            # Others have worked with the same input: the study continues with it.
                            raise EngineError(
                                "a replacement worker could not start; its message is above"
                            )
                        raise InputError("a worker could not start; its message is above")
                    elif worker.died:
                        workers[n] = self._replace(worker, self._settings[n])
                if interrupt.requested and not any(w.process.is_alive() for w in workers):
                    break
                tick()
        finally:
            try:
                if interrupt.requests < 2:
                    _dismiss(workers, interrupt)
            finally:
                # Also where a second request to stop has ended the wait.
                self._end_server()
                for worker in workers:
                    worker.process.kill()
                    worker.process.join()
                    worker.relay()
                    worker.log.close()
                    worker.driver.close()
        tick()

    def _start(self, settings: WorkerSettings) -> _Worker:
        receiver, sender = self._context.Pipe(duplex=False)
        held, lifeline = self._context.Pipe(duplex=False)
        above, driver = self._context.Pipe(duplex=False)
        ends = (held, above, sender)
        process = self._start_process((self._job, settings, log_level()), ends)
        # Only the worker may hold its ends, or a death would go unnoticed on the other side.
        for end in ends:
            end.close()
        return _Worker(process, receiver, lifeline, driver, time.monotonic())

    def _start_process(
        self, args: tuple[Any, ...], ends: tuple[Connection, ...]
    ) -> SpawnProcess | ForkedProcess:
        with without_main():
            if not fork_server.AVAILABLE:
                process = self._context.Process(target=_main, args=(*args, *ends), daemon=True)
                process.start()
                return process
            if self._server is None or not self._server.alive:
                self._server = fork_server.ForkServer()
        return self._server.start(_main, args, ends)

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.end()
            self._server = None

    def _replace(self, dead: _Worker, settings: WorkerSettings) -> _Worker:
        status, loss = dead.process.exitcode, _note_lost(dead.process, settings)
        now = time.monotonic()
        self._deaths.append((now, loss.epochs))
        first, before = self._deaths[0]
        in_a_row = len(self._deaths) == DEATHS_PER_MINUTE and loss.epochs == before
        stalled = not loss.joined and now - dead.begun > LEAST_SECONDS
        self._stalled_starts = self._stalled_starts + 1 if stalled else 0
        if self._stalled_starts == STALLED_STARTS:
            raise EngineError(
                f"{STALLED_STARTS} workers in a row hung while they loaded the data or the "
                "problem; the messages above say where. Correct problem.factory or the data set"
            )
        if in_a_row and now - first < MINUTE_SECONDS:
            raise EngineError(
                f"{DEATHS_PER_MINUTE} workers died within a minute, the last with exit status "
                f"{status}, while it held {loss.held}: the records are safe; "
                + ("free memory or use fewer --workers" if status else ENDED_BY_ITSELF)
            )
        if loss.reason is not None:
            logger.warning("%s and is replaced", loss.reason)
        elif status == 0:
            logger.warning(
                "a worker that held %s ended by itself (exit status 0) and is replaced; %s",
                loss.held,
                ENDED_BY_ITSELF,
            )
        else:
            logger.warning(
                "a worker died with exit status %s and is replaced; it held %s", status, loss.held
            )
        for end in (dead.lifeline, dead.driver, dead.log):
            end.close()
        return self._start(settings)


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """Keep a process that is started in the block from running this program's main module again.

    A worker needs nothing of it, and a script that searches at its top level would search again.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _dismiss(workers: Sequence[_Worker], interrupt: Interrupt) -> None:
    """Wait until workers have ended their epochs; briefly where one could not continue."""
    for worker in workers:
        worker.lifeline.close()
    deadline = time.monotonic() + END_SECONDS
    for worker in workers:
        # An epoch may be long; one that hangs is ended by the worker's keeper.
        patient = interrupt.requested and worker.end is None
        worker.process.join(None if patient else max(0.0, deadline - time.monotonic()))


@dataclass
class _Loss:
    """What the record tells of a worker whose process has died.

    Attributes:
        held: the trials that it held, in words.
        epochs: how many of the study are recorded.
        joined: whether it had begun to ask for trials.
        reason: why it was killed, if it made no progress.
    """

    held: str
    epochs: int
    joined: bool
    reason: str | None


def _note_lost(dead: SpawnProcess | ForkedProcess, settings: WorkerSettings) -> _Loss:
    """Record that a worker's process has died."""
    with Ledger.open(settings.storage, patient=True) as ledger:
        study = ledger.study(settings.study)
        stalled = {
            event.data["worker"]: event.data["reason"]
            for event in ledger.events(study.id, LOST)
            if "reason" in event.data
        }
        joined, reason = False, None
        for worker in ledger.workers(study.id):
            if worker.pid == dead.pid and worker.host == process_info.host():
                joined, reason = True, stalled.get(worker.id)
        lost = record_dead(ledger, study, {dead.pid: dead.exitcode})
        epochs = sum(part.epochs_done for part in ledger.progress(study.id))
    return _Loss(", ".join(lost) or "no trial", epochs, joined, reason)


def record_dead(
    ledger: Ledger, study: StudyRecord, statuses: Mapping[int | None, int | None] | None = None
) -> list[str]:
    """Record the workers of this host whose processes have died; their leases end.

    Args:
        ledger: has the study.
        study: that they worked on.
        statuses: exit statuses that are known, by process.

    Returns:
        The trials that they held.
    """
    held, lost = held_trials(ledger, study), []
    for worker in ledger.workers(study.id):
        if worker.left_at is None and process_info.is_dead(worker):
            trials = held.get(worker.id, [])
            ledger.record_lost_worker(worker, trials, (statuses or {}).get(worker.pid))
            lost += trials
    return lost


def _main(
    job: Callable[[WorkerSettings, Callable[[], bool]], None],
    settings: WorkerSettings,
    level: int,
    lifeline: Connection,
    driver: Connection,
    log: Connection,
) -> None:
    # The loaders of own code may start processes, which a daemon must not; they end with this one.
    vars(multiprocessing.current_process())["_config"]["daemon"] = False
    # Ctrl-C reaches the whole group: only the parent answers, and tells the workers through stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminated = _Terminated()
    send_log(log, level)

    def should_stop() -> bool:
        return terminated.asked or lifeline.poll()

    try:
        device = confine(settings.device)
        with hurried_when(should_stop):
            job(replace(settings, torch_device=device, driver=driver.fileno()), should_stop)
    except DeviceLostError as error:
        # No word of its end: another process is to take its place.
        logger.error("%s: another one takes its place", error)
        return
    except IndianTuneError as error:
        logger.error("%s", error)
        refused = isinstance(error, InputError) and not isinstance(error, StorageError)
        end = _REFUSED if refused else _EXPLAINED
    except (SystemExit, GeneratorExit, KeyboardInterrupt) as error:
        # Signals are answered otherwise here, so it comes from the study's own code.
        logger.error("user code ended a worker: it raised %r", error)
        raise SystemExit(1) from None
    else:
        if terminated.asked and not lifeline.poll():
            # The parent was not asked to stop: it takes this for a death, and starts another.
            logger.warning("a worker got SIGTERM and ends; its trials are given back")
            return
        end = _DONE
    with contextlib.suppress(OSError):
        log.send(end)


class _Terminated:
    """Whether this worker has got SIGTERM, which asks it to leave after its epoch.

    A service manager and a scheduler send it to all processes of a job at once. The second one ends
    the process.
    """

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._note)
        # Processes that own code forks end by it.
        os.register_at_fork(after_in_child=self._forget)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            self._forget()
            os.kill(os.getpid(), number)
        # The handler stays: one that changed by itself would be taken for a trial's doing.
        self.asked = True

    @staticmethod
    def _forget() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
