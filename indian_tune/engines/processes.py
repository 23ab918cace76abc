"""The local engine: one worker process per device slot, kept alive across trials."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.engines import process_info
from indian_tune.engines.devices import confine
from indian_tune.engines.relay import log_level, relay_log, send_log
from indian_tune.errors import EngineError, IndianTuneError
from indian_tune.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.settings import WorkerSettings

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.25
# A worker that dies is replaced, but a machine on which they die in a row is not asked for more.
DEATHS_PER_MINUTE = 6
MINUTE_SECONDS = 60.0
# Exit status of a worker that has met an error it explains itself.
_EXPLAINED = 3


def train(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Do what a worker process is for."""
    from indian_tune.engines.worker import work

    work(settings, should_stop)


class ProcessEngine:
    """Runs one process per entry of ``slots``, each of which sees its own GPU alone.

    Args:
        slots: settings of each worker.
        job: what a worker does until its study is done, or it is asked to stop; travels to the
            process by name.
    """

    def __init__(
        self,
        slots: Sequence[WorkerSettings],
        job: Callable[[WorkerSettings, Callable[[], bool]], None] = train,
    ) -> None:
        self._slots = slots
        self._job = job
        # spawn: a forked torch inherits locks of threads that do not exist in the child.
        self._context = multiprocessing.get_context("spawn")
        self._deaths: deque[float] = deque(maxlen=DEATHS_PER_MINUTE)
        self._logs: dict[SpawnProcess, Connection] = {}
        # Closing our end asks a worker to stop. Nothing is locked, so a worker that is killed
        # cannot leave the others waiting, and when we are killed ourselves they stop as well.
        self._lifelines: dict[SpawnProcess, Connection] = {}

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work until the study is done or interrupted.

        Raises:
            EngineError: a worker ended with an error, or workers die too often.
        """
        workers = [self._start(settings) for settings in self._slots]
        try:
            # A worker that has died is not alive either: only ended ones count as done.
            while any(worker.exitcode != 0 for worker in workers):
                time.sleep(TICK_SECONDS)
                self._relay()
                if interrupt.requested:
                    self._stop()
                    if not any(worker.is_alive() for worker in workers):
                        break
                else:
                    for n, worker in enumerate(workers):
                        if worker.exitcode not in (None, 0):
                            workers[n] = self._replace(worker, self._slots[n])
                tick()
        finally:
            self._stop()
            for worker in workers:
                if interrupt.requests > 1 or worker.exitcode not in (None, 0):
                    worker.terminate()
                worker.join()
            self._relay()
        tick()

    def _start(self, settings: WorkerSettings) -> SpawnProcess:
        receiver, sender = self._context.Pipe(duplex=False)
        held, lifeline = self._context.Pipe(duplex=False)
        worker = self._context.Process(
            target=_main, args=(self._job, settings, held, sender, log_level()), daemon=True
        )
        worker.start()
        # Only the worker may hold its ends, or a death would go unnoticed on the other side.
        sender.close()
        held.close()
        self._logs[worker] = receiver
        self._lifelines[worker] = lifeline
        return worker

    def _stop(self) -> None:
        for lifeline in self._lifelines.values():
            lifeline.close()

    def _relay(self) -> None:
        for worker, log in list(self._logs.items()):
            ended = worker.exitcode is not None
            relay_log(log)
            if ended:
                log.close()
                del self._logs[worker]

    def _replace(self, dead: SpawnProcess, settings: WorkerSettings) -> SpawnProcess:
        self._relay()
        if dead.exitcode == _EXPLAINED:
            raise EngineError("a worker could not go on; its message stands above")
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == DEATHS_PER_MINUTE and now - self._deaths[0] < MINUTE_SECONDS:
            raise EngineError(
                f"{DEATHS_PER_MINUTE} workers died within a minute, the last with exit status "
                f"{dead.exitcode}: nothing is lost; free memory or use fewer --workers, then run "
                "the same command again, with --retry-failed"
            )
        logger.warning("a worker died with exit status %s and is replaced", dead.exitcode)
        with Ledger.open(settings.storage, patient=True) as ledger:
            for worker in ledger.workers(ledger.study(settings.study).id):
                if worker.left_at is None and process_info.is_dead(worker):
                    ledger.leave(worker.id)
        self._lifelines.pop(dead).close()
        return self._start(settings)


def _main(
    job: Callable[[WorkerSettings, Callable[[], bool]], None],
    settings: WorkerSettings,
    lifeline: Connection,
    log: Connection,
    level: int,
) -> None:
    # Ctrl-C reaches the whole group: only the parent answers, and tells the workers through stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The parent must be able to end a worker at once, whatever it inherited.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    send_log(log, level)
    try:
        job(replace(settings, seen_as=confine(settings.device)), lifeline.poll)
    except IndianTuneError as error:
        logger.error("%s", error)
        raise SystemExit(_EXPLAINED) from None
