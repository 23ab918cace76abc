"""One history: a study that many workers search while a seed draws what goes wrong."""

from __future__ import annotations

import hashlib
import json
import logging
import random
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import LeaseLostError, LedgerError, StorageError
from indian_tune.ledger import Ledger, Phase, State
from indian_tune.study.controller import Controller, Decision
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.in_memory import InMemoryProjection
from indian_tune.study.optuna.reconcile import reconcile
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import extend, register
from tests.conftest import measured
from tests.simulation.checker import Answer, Rows, read_rows, violations
from tests.simulation.database import (
    CALM,
    FaultyDatabase,
    PowerCutError,
    Process,
    Rates,
    World,
)
from tests.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.ledger import WorkerRecord
    from indian_tune.study.assignment import RunningTrial

EPOCHS = 3
BEAT_SECONDS = 20.0
IDLE_SECONDS = 5.0
# When faults stop, and when everything must have ended after that: on the virtual clock.
STORM_SECONDS = 600.0
CALM_SECONDS = 2 * 3600.0
MOST_EXTENSIONS = 3
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Outcome:
    """What became of a history.

    Attributes:
        found: violations, in sentences.
        transactions: that were committed.
        faults: how many there were, by kind.
        digest: of all that was answered and recorded.
    """

    found: list[str]
    transactions: int
    faults: dict[str, int]
    digest: str


def drawn_study(draw: random.Random) -> dict[str, Any]:
    """Return a small study, with a pruner, generations, replicates or a budget as drawn."""
    trials, generation = draw.choice(((2, None), (4, None), (4, 2), (6, 3)))
    search: dict[str, Any] = {"trials": trials, "sampler": "random", "seed": draw.randrange(99)}
    if generation is not None:
        search["generation"] = generation
    elif draw.random() < 0.3:
        search |= {"budget": "epochs", "epochs": EPOCHS * trials}
    if draw.random() < 0.5:
        search["pruner"] = {"name": "median", "n_startup_trials": 1}
    search["replicates"] = draw.choice((1, 1, 2))
    raw: dict[str, Any] = {
        "name": "history",
        "problem": {"dataset": "digits", "model": "nin-small"},
        "protocol": {"epochs": EPOCHS, "tune_seeds": draw.choice((1, 2)), "confirm_seeds": 2},
        "search": search,
        "arms": [{"name": "indian", "optimizer": "indian"}, {"name": "sgd", "optimizer": "sgd"}],
    }
    if draw.random() < 0.5:
        raw["arms"].append({"name": "control", "optimizer": "sgd", "response_of": "indian"})
    if draw.random() < 0.2:
        raw["protocol"]["finalists"] = 2
    elif draw.random() < 0.2 and "budget" not in search:
        raw["claims"] = {"half_budget": True}
    return raw


class _Time:
    """The time of a worker's own process, in place of the module."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.sleep = scheduler.sleep
        self.monotonic = lambda: scheduler.now


class History:
    """Plays one history.

    Args:
        seed: draws everything.
        template: file of a database with its tables and no study.
        folder: for the file of this one.
        rates: of faults; drawn if ``None``.
    """

    def __init__(self, seed: int, template: Path, folder: Path, rates: Rates | None = None) -> None:
        self.draw = random.Random(seed)
        self.scheduler = Scheduler(random.Random(seed + 1))
        scale = self.draw.choice((0.2, 1.0, 3.0))
        drawn = Rates() if rates is None else rates
        self.world = World(
            self.scheduler,
            random.Random(seed + 2),
            self.clock,
            Rates(drawn.turn, *(scale * share for share in list(vars(drawn).values())[1:])),
        )
        self.path = folder / f"history-{seed}.db"
        shutil.copy(template, self.path)
        self.database = FaultyDatabase(str(self.path), self.world)
        self.skew = 0.0
        self.spec = parse_study(drawn_study(self.draw), source="study.toml")
        self.workers = self.draw.choice((2, 3, 8, 16, 64))
        self.epoch_seconds = self.draw.choice((1.0, 10.0, 50.0))
        self.calm = False
        self.answers: list[Answer] = []
        self.place = 0
        self.born = 0
        self.extended = 0
        self.present: dict[str, Process] = {}
        self.ended: set[str] = set()
        self.errors: list[str] = []

    def clock(self) -> datetime:
        """The time of the database, which jumps as the clock of a server that fails over."""
        return START + timedelta(seconds=self.scheduler.now + self.skew)

    def play(self) -> Outcome:
        """Play it to its end, and judge it."""
        # Every broken connection is told of.
        ours = logging.getLogger("indian_tune")
        level = ours.level
        ours.setLevel(logging.ERROR)
        with pytest.MonkeyPatch.context() as patch:
            tokens = random.Random(self.draw.random())
            secrets = type("Secrets", (), {"token_hex": lambda n: f"{tokens.getrandbits(8 * n):x}"})
            patch.setattr("indian_tune.ledger.repository.secrets", secrets)
            patch.setattr("indian_tune.ledger.writer.secrets", secrets)
            patch.setattr("indian_tune.ledger.retry.time", _Time(self.scheduler))
            patch.setattr("indian_tune.ledger.retry.random", random.Random(self.draw.random()))
            try:
                self._play()
            finally:
                self.scheduler.close()
                self.database.close()
                ours.setLevel(level)
        rows = read_rows(f"sqlite:///{self.path}")
        found = [*self.errors, *violations(rows, self.answers)]
        return Outcome(found, self.world.transactions, self.world.faults, self._digest(rows))

    def _play(self) -> None:
        rates, self.world.rates = self.world.rates, CALM
        first = Process("observer", spared=True)
        self.ledger = self._ledger(first)
        self.scheduler.spawn(self._register)
        self.scheduler.run(lambda: False)
        self.world.rates = rates
        for _ in range(self.workers):
            self._start_worker()
        for task, least, most in (
            (self._repair, 20.0, 120.0),
            (self._extend, 5.0, 400.0),
            (self._retry, 100.0, 500.0),
            (self._set_clock, 50.0, 300.0),
        ):
            self.scheduler.spawn(task, self.draw.uniform(least, most))
        self.scheduler.run(lambda: self.scheduler.now > STORM_SECONDS)
        self._calm_down()
        deadline = self.scheduler.now + CALM_SECONDS
        self.scheduler.run(lambda: self.done or self.scheduler.now > deadline)
        if not self.done:
            self.errors.append(f"not done {CALM_SECONDS:.0f} s after the last fault")

    def _register(self) -> None:
        self.study = register(self.ledger, self.spec)
        self.projection = InMemoryProjection.beside(self.study)
        self.projection.create()
        self.done = False

    def _calm_down(self) -> None:
        self.calm = True
        self.world.rates = CALM
        for process in self.present.values():
            process.cut_off_until = process.halted_until = 0.0
        self.scheduler.spawn(self._operate, 1.0)

    def _ledger(self, process: Process) -> Ledger:
        return Ledger(self.database.url, self.database.engine(process))

    def _task(self, process: Process, do: Callable[[], None]) -> Callable[[], None]:
        """Return a task that ends with its process, and says what no worker should ever meet."""

        def run() -> None:
            try:
                do()
            except (PowerCutError, StorageError, LedgerError):
                process.alive = False
            except Exception as error:  # noqa: BLE001 - whatever it is, it is found
                self.errors.append(f"{process.name} met {error!r}")
                process.alive = False

        return run

    def _start_worker(self) -> None:
        self.born += 1
        process = Process(f"w{self.born}")
        self.present[process.name] = process
        self.scheduler.spawn(self._task(process, lambda: self._work(process)))

    def _replace_dead(self) -> None:
        for name in [name for name, process in self.present.items() if not process.alive]:
            del self.present[name]
            if name not in self.ended:
                self._start_worker()

    # What a worker does.

    def _work(self, process: Process) -> None:
        ledger = self._ledger(process)
        study = RegisteredStudy(ledger, self.study.record, self.study.spec)
        ledger.join(study.id, process.name, host="h", pid=1, started="0", device="cpu")
        self.scheduler.spawn(self._task(process, lambda: self._beat(process, ledger)), BEAT_SECONDS)
        controller = Controller(study, process.name, projection=self.projection)
        while process.alive:
            asked = self._now()
            trial = controller.claim({})
            if trial is not None:
                self._tell("claimed", process, trial, asked)
                try:
                    self._train(process, controller, trial)
                except LeaseLostError:
                    continue
            elif controller.done:
                ledger.leave(process.name)
                self.ended.add(process.name)
                process.alive = False
            else:
                self.scheduler.sleep(IDLE_SECONDS)

    def _beat(self, process: Process, ledger: Ledger) -> None:
        while process.alive:
            ledger.heartbeat(process.name)
            self.scheduler.sleep(BEAT_SECONDS)

    def _train(self, process: Process, controller: Controller, trial: RunningTrial) -> None:
        done = {key: run.epochs_done for key, run in trial.open_runs.items()}
        while trial.open_runs:
            keys = list(trial.open_runs) if trial.assignment.together else [next(iter(done))]
            least = min(done[key] for key in keys)
            keys = [key for key in keys if done[key] == least]
            if least < trial.assignment.epochs and not self._train_epoch(
                process, controller, trial, keys, done
            ):
                return
            for key in keys:
                if done[key] >= trial.assignment.epochs:
                    controller.finish_run(trial, trial.open_runs.pop(key))
                    del done[key]
        asked = self._now()
        state = controller.finish(trial)
        self._tell("finished", process, trial, asked, str(state))

    def _train_epoch(
        self,
        process: Process,
        controller: Controller,
        trial: RunningTrial,
        keys: list[str],
        done: dict[str, int],
    ) -> bool:
        """Train and report an epoch; return whether the trial continues."""
        self.scheduler.sleep(self.draw.uniform(0.5, 1.5) * self.epoch_seconds)
        asked = self._now()
        if not self.calm and self.world.happens("model", 0.01):
            state = controller.fail_attempt(trial, "Traceback\nValueError: drawn")
            if state is State.FAILED:
                self._tell("finished", process, trial, asked, "failed")
            return False
        if not self.calm and self.world.happens("release", 0.005):
            controller.release(trial)
            return False
        records = {
            trial.open_runs[key].id: self._measure(trial, key, done[key] + 1) for key in keys
        }
        (decision,) = controller.report_pack([(trial, records)])
        if decision is Decision.DROP:
            return False
        for run_id, record in records.items():
            self._tell(
                "reported", process, trial, asked, (run_id, record.epoch, dict(record.metrics))
            )
        for key in keys:
            done[key] += 1
        if decision is Decision.PRUNE:
            asked = self._now()
            state = controller.prune(trial)
            self._tell("finished", process, trial, asked, str(state))
            return False
        return True

    def _measure(self, trial: RunningTrial, key: str, epoch: int) -> Any:
        """Return what an epoch comes to: a function of configuration, seed and epoch alone."""
        named = sorted(trial.assignment.config.items())
        text = json.dumps([named, trial.open_runs[key].seed, epoch])
        error = int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 16**6 / epoch
        return measured(epoch, error, 1 - error, error, 1 - error, 0.5, 0.5)

    # What happens beside the workers.

    def _repair(self) -> None:
        self._by_operator(
            lambda ledger: reconcile(
                RegisteredStudy(ledger, self.study.record, self.study.spec),
                self.projection,
                self._known_dead,
            )
        )
        self._replace_dead()
        self.scheduler.spawn(self._repair, self.draw.uniform(5.0, 60.0))

    def _known_dead(self, worker: WorkerRecord) -> bool:
        process = self.present.get(worker.id)
        return (process is None or not process.alive) and self.draw.random() < 0.7

    def _extend(self) -> None:
        if self.calm or self.extended == MOST_EXTENSIONS or self.spec.search.budget != "trials":
            return
        # Most tellingly when the last trial has just ended, or winners are being frozen.
        if self.ledger.open_trials(self.study.id, Phase.TUNE) < 2 or self.draw.random() < 0.02:
            self.extended += 1
            self._by_operator(
                lambda ledger: extend(
                    RegisteredStudy(ledger, self.study.record, self.study.spec), 1
                )
            )
        self.scheduler.spawn(self._extend, self.draw.uniform(1.0, 60.0))

    def _retry(self) -> None:
        self._by_operator(lambda ledger: ledger.retry(self.study.id))
        if not self.calm:
            self.scheduler.spawn(self._retry, self.draw.uniform(50.0, 200.0))

    def _set_clock(self) -> None:
        if not self.calm:
            self.skew += self.draw.choice((-600.0, -5.0, 5.0, 600.0))
            self.scheduler.spawn(self._set_clock, self.draw.uniform(50.0, 300.0))

    def _by_operator(self, do: Callable[[Ledger], object]) -> None:
        process = Process(f"operator at {self.scheduler.now:.3f}")
        self._task(process, lambda: (do(self._ledger(process)), None)[1])()

    def _operate(self) -> None:
        """Do in calm weather what an operator does until the study is done."""
        self._retry()
        self._replace_dead()
        judge = Controller(self.study, "observer", projection=self.projection)
        failed = self.ledger.trials(self.study.id, states=(State.FAILED,))
        self.done = judge.done and not failed and not self.present.keys() - self.ended
        if not self.done:
            if not self.present:
                self._start_worker()
            self.scheduler.spawn(self._operate, 30.0)

    # What was answered.

    def _now(self) -> int:
        self.place += 1
        return self.place

    def _tell(
        self, what: str, process: Process, trial: RunningTrial, asked: int, detail: Any = None
    ) -> None:
        self.answers.append(Answer(what, process.name, trial.id, asked, self._now(), detail))

    def _digest(self, rows: Rows) -> str:
        text = json.dumps([[vars(each) for each in self.answers], rows], default=str)
        return hashlib.sha256(text.encode()).hexdigest()
