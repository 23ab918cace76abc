"""The simulated engine: workers on a virtual clock, whose trials take no time.

Controller, ledger and Optuna are the real ones. A worker takes the seconds that its curves tell.
It is not in the table of engines: what it records would look like a measurement.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from indian_tune.engines import outcomes
from indian_tune.errors import EngineError
from indian_tune.study.controller import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.study.assignment import Assignment, RunningTrial
    from indian_tune.study.controller import Controller
    from indian_tune.training.run import EpochRecord

    Curves = Callable[[Assignment], Sequence[Sequence[EpochRecord]]]

_PROVENANCE = {"device": "simulated"}
_START = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class VirtualClock:
    """A clock that is set; called, it tells the time as a database does.

    Attributes:
        seconds: since its start.
    """

    seconds: float = 0.0

    def __call__(self) -> datetime:
        """Return the time."""
        return _START + timedelta(seconds=self.seconds)


@dataclass
class _Held:
    """A trial under way, with how many epochs of each open run are done."""

    trial: RunningTrial
    curves: dict[str, Sequence[EpochRecord]]
    done: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.done = {key: run.epochs_done for key, run in self.trial.open_runs.items()}

    def next_epoch(self) -> list[EpochRecord]:
        """Return the records of the epoch that is trained now: of all open runs, or of one."""
        keys = list(self.trial.open_runs)
        if not self.trial.assignment.together:
            keys = keys[:1]
        return [replace(self.curves[key][self.done[key]], key=key) for key in keys]


class SimulatedEngine:
    """Runs trials whose learning curves are known.

    Args:
        controller: of the study, whose ledger tells the time by ``clock``. All workers are one to
            the ledger, as those of one process are that trains several trials side by side.
        curves: of a trial, one per run in their order; each as long as the run, or until the run
            diverges.
        workers: how many trials run at a time.
        clock: of the database.
    """

    place = "on a virtual clock"

    def __init__(
        self, controller: Controller, curves: Curves, workers: int, clock: VirtualClock
    ) -> None:
        self._controller = controller
        self._curves = curves
        self._workers = workers
        self._clock = clock

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work until the study is done or interrupted.

        Raises:
            EngineError: the controller gives out nothing more, and the study is not done.
        """
        began = self._clock.seconds
        events = [(began, worker) for worker in range(self._workers)]
        held: dict[int, _Held] = {}
        idle: list[int] = []
        while events and not interrupt.requested:
            now, worker = heapq.heappop(events)
            self._clock.seconds = now
            mine = held.get(worker)
            if mine is not None:
                ended = self._report(mine)
                tick()
                if ended:
                    del held[worker]
                    # What they wait for may be there now.
                    for other in idle:
                        heapq.heappush(events, (now, other))
                    idle.clear()
            if worker not in held:
                trial = self._controller.claim(_PROVENANCE)
                if trial is None:
                    idle.append(worker)
                    continue
                held[worker] = self._take(trial)
            seconds = sum(record.seconds for record in held[worker].next_epoch())
            heapq.heappush(events, (now + seconds, worker))
        if interrupt.requested:
            outcomes.give_back(self._controller, [mine.trial for mine in held.values()])
        elif not self._controller.done:
            raise EngineError("trials are open, but simulated workers cannot take any")

    def _take(self, trial: RunningTrial) -> _Held:
        curves = self._curves(trial.assignment)
        by_run = {run.id: curve for run, curve in zip(trial.runs, curves, strict=True)}
        return _Held(trial, {key: by_run[run.id] for key, run in trial.open_runs.items()})

    def _report(self, mine: _Held) -> bool:
        """Report the epoch that has been trained; return whether the trial has ended with it."""
        records = mine.next_epoch()
        for record in records:
            mine.done[record.key] += 1
        (decision,) = outcomes.record_epoch_reports(self._controller, [(mine.trial, records)])
        if decision is Decision.CONTINUE and mine.trial.open_runs:
            return False
        outcomes.end_trial(self._controller, mine.trial, decision)
        return True
