"""Random interleavings of workers that claim, report, finish, crash and are taken over.

Hypothesis plays up to three workers and a mender on one real database, with a crash at any of the
named places between two writes, and checks after every step what must hold at all times.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Part
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from optuna.trial import TrialState

from indian_tune.errors import LeaseLostError
from indian_tune.ledger import Ledger, Phase, State
from indian_tune.ledger import tables as t
from indian_tune.study.controller import Controller
from indian_tune.study.faults import FAULTS
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import reconcile
from indian_tune.study.optuna.shown_trial import SLOT
from indian_tune.study.registration import extend, register
from tests.conftest import measured
from tests.reports import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.ledger import TrialRecord
    from indian_tune.study.assignment import RunningTrial
    from indian_tune.study.registered_study import RegisteredStudy

WORKERS = 3
EXAMPLES = 40
STEPS = 30
EPOCHS = 2
STUDY: dict[str, Any] = {
    "name": "played",
    "problem": {"dataset": "digits", "model": "nin-small"},
    "protocol": {"epochs": EPOCHS, "confirm_seeds": 1},
    "search": {"trials": 2, "sampler": "random"},
    "arms": [
        {"name": "indian", "optimizer": "indian"},
        {"name": "sgd", "optimizer": "sgd"},
        {"name": "control", "optimizer": "sgd", "response_of": "indian"},
    ],
}
# A row of the ledger's that may not change once its trial is finished.
LASTING = ("state", "value", "config", "reason", "started_at", "finished_at", "attempts")

workers = st.integers(0, WORKERS - 1)


class PowerCutError(BaseException):
    """The process is gone."""


class Player:
    """One worker process: what it believes to hold, and who it is in the ledger."""

    def __init__(self, study: RegisteredStudy[Ledger], name: str) -> None:
        study.ledger.join(study.id, name, host="here", pid=1, started="0", device="cpu")
        self.name = name
        self.controller = Controller(study, name)
        self.assignment: RunningTrial | None = None
        self.epoch = 0


class Interleavings(RuleBasedStateMachine):
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="played-"))
        shutil.copy(self.template, self.folder / "study.db")
        self.ledger = Ledger.open(str(self.folder / "study.db"))
        self.spec = parse_study(copy.deepcopy(STUDY), source="study.toml")
        self.study = register(self.ledger, self.spec)
        self.projection = Projection.beside(self.study)
        self.budget = 2
        self.extended = False
        self.born = 0
        self.dead: set[str] = set()
        self.finished: dict[int, TrialRecord] = {}
        self.configs: dict[int, Any] = {}
        self.players: list[Player] = []
        self.fault: str | None = None
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("indian_tune.study.controller.fault_point", self.fault_point)

    def fault_point(self, name: str) -> None:
        if name == self.fault:
            raise PowerCutError

    @initialize()
    def start(self) -> None:
        self.players = [self.new_player() for _ in range(WORKERS)]

    def new_player(self) -> Player:
        self.born += 1
        return Player(self.study, f"worker-{self.born}")

    def attempt(self, n: int, do: Callable[[Player], None]) -> None:
        """Let a worker do something; it may lose its lease or its life over it."""
        player = self.players[n]
        try:
            do(player)
        except LeaseLostError:
            assert not self.holds(player)
            player.assignment = None
        except PowerCutError:
            self.bury(n)

    def holds(self, player: Player) -> bool:
        """Whether the ledger agrees that the worker holds what it believes to hold."""
        assert player.assignment is not None
        query = sa.select(t.trial.c.lease_token, t.trial.c.state).where(
            t.trial.c.id == player.assignment.id
        )
        with self.ledger._writer.connect() as connection:
            token, state = connection.execute(query).one()
        return bool(token == player.assignment.lease.token and state == State.RUNNING)

    def bury(self, n: int) -> None:
        self.players[n].controller.close()
        self.dead.add(self.players[n].name)
        self.players[n] = self.new_player()

    @rule(n=workers, fault=st.sampled_from((None, None, *FAULTS)))
    def claim(self, n: int, fault: str | None) -> None:
        if self.players[n].assignment is not None:
            return

        def do(player: Player) -> None:
            player.assignment = player.controller.claim({})
            if player.assignment is not None:
                done = {run.epochs_done for run in player.assignment.runs}
                player.epoch = min(done)

        self.fault = fault
        self.attempt(n, do)
        self.fault = None

    @rule(n=workers, error=st.floats(0.1, 0.9), fault=st.sampled_from((None, None, *FAULTS)))
    def report(self, n: int, error: float, fault: str | None) -> None:
        assignment = self.players[n].assignment
        if assignment is None or self.players[n].epoch == EPOCHS:
            return

        def do(player: Player) -> None:
            epoch = player.epoch + 1
            good = 1 - error
            record = measured(epoch, error, good, error, good, 0.5, 0.5)
            report(player.controller, assignment, {run.id: record for run in assignment.runs})
            player.epoch = epoch

        self.fault = fault
        self.attempt(n, do)
        self.fault = None

    @rule(n=workers, diverged=st.booleans(), fault=st.sampled_from((None, None, *FAULTS)))
    def finish(self, n: int, diverged: bool, fault: str | None) -> None:
        assignment = self.players[n].assignment
        if assignment is None or self.players[n].epoch < EPOCHS:
            return

        def do(player: Player) -> None:
            for run in assignment.runs:
                if not run.state.finished:
                    player.controller.finish_run(assignment, run, not_finite="loss" * diverged)
            player.controller.finish(assignment)
            player.assignment = None

        self.fault = fault
        self.attempt(n, do)
        self.fault = None

    @rule(n=workers, broken=st.booleans())
    def give_up(self, n: int, broken: bool) -> None:
        assignment = self.players[n].assignment
        if assignment is None:
            return

        def do(player: Player) -> None:
            if broken:
                player.controller.fail_attempt(assignment, "Traceback\nValueError: played")
            else:
                player.controller.release(assignment)
            player.assignment = None

        self.attempt(n, do)

    @rule(n=workers)
    def crash(self, n: int) -> None:
        self.bury(n)

    @rule(n=workers)
    def fall_silent(self, n: int) -> None:
        """Its lease runs out, and it does not know."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        held = (t.trial.c.worker_id == self.players[n].name) & (t.trial.c.state == State.RUNNING)
        with self.ledger._writer.begin() as connection:
            connection.execute(sa.update(t.trial).where(held).values(lease_expires_at=past))

    @rule()
    def repair(self) -> None:
        reconcile(self.study, self.projection, lambda worker: worker.id in self.dead)

    @precondition(lambda self: not self.extended)
    @rule()
    def extend(self) -> None:
        extend(self.study, 1)
        self.extended = True
        self.budget += 1

    @invariant()
    def the_budget_is_exact(self) -> None:
        places = [
            (trial.arm_id, trial.index)
            for trial in self.ledger.trials(self.study.id, phase=Phase.TUNE)
        ]
        assert sorted(places) == [(arm, n) for arm in (1, 2) for n in range(self.budget)]

    @invariant()
    def what_is_decided_stays(self) -> None:
        for trial in self.ledger.trials(self.study.id):
            if trial.config is not None:
                assert self.configs.setdefault(trial.id, trial.config) == trial.config
            if trial.state.finished:
                before = self.finished.setdefault(trial.id, trial)
                assert [getattr(trial, name) for name in LASTING] == [
                    getattr(before, name) for name in LASTING
                ]
                assert trial.lease_expires_at is None
            else:
                assert trial.id not in self.finished
                assert (trial.lease_expires_at is None) == (trial.state is State.WAITING)

    @invariant()
    def every_epoch_is_there_once_and_in_order(self) -> None:
        for run in self.ledger.study_runs(self.study.id):
            epochs = [row.epoch for row in self.ledger.epochs(run.id)]
            assert epochs == list(range(1, run.epochs_done + 1))

    @invariant()
    def no_trial_is_held_twice(self) -> None:
        held = [
            player.assignment.id
            for player in self.players
            if player.assignment is not None and self.holds(player)
        ]
        assert len(held) == len(set(held))

    @invariant()
    def no_trial_stands_twice_in_optuna(self) -> None:
        known = [trial.optuna_trial_id for trial in self.ledger.trials(self.study.id)]
        linked = [each for each in known if each is not None]
        assert len(linked) == len(set(linked))
        slots = [
            trial.user_attrs[SLOT]
            for part in self.projection.parts
            for trial in self.projection.trials(part)
        ]
        assert len(slots) == len(set(slots))

    def teardown(self) -> None:
        try:
            if self.players:
                self.come_to_an_end()
        finally:
            self.patch.undo()
            for player in self.players:
                player.controller.close()
            self.projection.close()
            self.ledger.close()
            shutil.rmtree(self.folder)

    def come_to_an_end(self) -> None:
        """Whatever happened, one worker can finish the study, and everything then agrees."""
        for n in range(WORKERS):
            self.bury(n)
        self.repair()
        last = self.players[0].controller
        while (assignment := last.claim({})) is not None:
            for epoch in range(1, EPOCHS + 1):
                report(last, assignment, {run.id: measured(epoch) for run in assignment.runs})
            for run in assignment.runs:
                if not run.state.finished:
                    last.finish_run(assignment, run)
            last.finish(assignment)
        assert last.done
        self.repair()
        shown = {
            trial._trial_id: trial
            for part in self.projection.parts
            for trial in self.projection.trials(part)
        }
        assert TrialState.RUNNING not in {trial.state for trial in shown.values()}
        for trial in self.ledger.trials(self.study.id):
            assert trial.state.finished
            assert trial.told
            if trial.state in (State.COMPLETE, State.DIVERGED):
                assert trial.optuna_trial_id is not None
                assert shown[trial.optuna_trial_id].user_attrs[SLOT] == trial.id
                assert shown[trial.optuna_trial_id].value == trial.value
        self.the_budget_is_exact()
        self.what_is_decided_stays()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_interleaving_breaks_what_must_hold(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with Ledger.open(str(tmp_path / "template.db")) as ledger:
        spec = parse_study(copy.deepcopy(STUDY), source="study.toml")
        projection = Projection.beside(register(ledger, spec))
        projection.create()
        projection.close()
        with ledger._writer.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
    from hypothesis.stateful import run_state_machine_as_test

    Interleavings.template = tmp_path / "template.db"
    run_state_machine_as_test(
        Interleavings,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            # Shrinking replays databases for minutes; a long story is still a story.
            phases=[Part.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
