"""The controller with real ledger and Optuna, the training played by the test."""

from __future__ import annotations

import io
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState
from rich.console import Console

from indian_tune.errors import StudyFileError
from indian_tune.ledger import Ledger, Phase, State
from indian_tune.ledger.slots import REPEATED
from indian_tune.service.study_status import look
from indian_tune.study.controller import Controller, Decision
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import Repairs, reconcile
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import register
from tests.conftest import measured
from tests.reports import report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indian_tune.study.assignment import RunningTrial
    from indian_tune.training import EpochRecord
    from tests.conftest import PostgresServer

PROVENANCE = {"device": "cpu"}


@pytest.fixture
def storage(database: str) -> str:
    """Every test here runs on both databases."""
    return database


@contextmanager
def opened(
    storage: str, raw: dict[str, Any], worker: str = "worker", *, freeze_anyway: bool = False
) -> Iterator[Controller]:
    spec = parse_study(raw, source="study.toml")
    with Ledger.open(storage) as ledger:
        study = register(ledger, spec)
        projection = Projection(ledger.url, spec.name, spec.searched_arms)
        projection.create()
        projection.close()
        if not any(known.id == worker for known in ledger.workers(study.id)):
            ledger.join(study.id, worker, host="here", pid=1, started="0", device="cpu")
        controller = Controller(study, worker, freeze_anyway=freeze_anyway)
        yield controller
        controller.close()


def claim(controller: Controller) -> RunningTrial:
    assignment = controller.claim(PROVENANCE)
    assert assignment is not None
    return assignment


def records(assignment: RunningTrial, epoch: int, error: float) -> dict[int, EpochRecord]:
    record = measured(epoch, error, 1 - error, error, 1 - error, 0.5, 0.5)
    return {run.id: record for run in assignment.runs}


def train(controller: Controller, assignment: RunningTrial, error: float) -> State:
    for epoch in range(1, assignment.assignment.epochs + 1):
        if report(controller, assignment, records(assignment, epoch, error)) is Decision.PRUNE:
            return controller.prune(assignment)
    for run in assignment.runs:
        controller.finish_run(assignment, run, not_finite="" if math.isfinite(error) else "loss")
    return controller.finish(assignment)


@contextmanager
def optuna_study(storage: str, name: str) -> Iterator[optuna.Study]:
    rdb = optuna.storages.RDBStorage(storage)
    yield optuna.load_study(study_name=name, storage=rdb)
    rdb.remove_session()
    rdb.engine.dispose()


def optuna_trials(storage: str, name: str) -> list[optuna.trial.FrozenTrial]:
    with optuna_study(storage, name) as study:
        return study.trials


def test_a_study_goes_from_tuning_through_freezing_to_fresh_seeds(
    storage: str, tiny: dict[str, Any]
) -> None:
    errors = {("indian", 0): 0.4, ("indian", 1): 0.2, ("sgd", 0): 0.3, ("sgd", 1): 0.5}
    with opened(storage, tiny) as controller:
        configs = {}
        for _ in range(4):
            assignment = claim(controller)
            place = (assignment.assignment.arm.name, assignment.lease.trial.index)
            configs[place] = assignment.assignment.config
            assert [run.seed for run in assignment.runs] == [0]
            assert train(controller, assignment, errors[place]) is State.COMPLETE
            assert not controller.done
        confirms = []
        while (confirm := controller.claim(PROVENANCE)) is not None:
            assert confirm.phase is Phase.CONFIRM
            confirms.append(
                (confirm.assignment.arm.name, confirm.runs[0].seed, confirm.assignment.config)
            )
            train(controller, confirm, 0.1)
        assert controller.done
    assert confirms == [
        ("indian", 1000, configs["indian", 1]),
        ("sgd", 1000, configs["sgd", 0]),
        ("indian", 1001, configs["indian", 1]),
        ("sgd", 1001, configs["sgd", 0]),
    ]


def test_every_trial_and_epoch_is_in_optuna_too(storage: str, tiny: dict[str, Any]) -> None:
    with opened(storage, tiny) as controller:
        while (assignment := controller.claim(PROVENANCE)) is not None:
            train(controller, assignment, 0.25)
    for arm in ("indian", "sgd"):
        trials = optuna_trials(storage, f"tiny/{arm}")
        assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
        assert [trial.value for trial in trials] == [0.25, 0.25]
        assert [trial.intermediate_values for trial in trials] == [{1: 0.25, 2: 0.25}] * 2
        assert all(trial.params.keys() >= {"gamma0"} for trial in trials)
    confirms = optuna_trials(storage, "tiny/confirm")
    assert [tuple(trial.params.values()) for trial in confirms] == [
        ("indian", 1000),
        ("sgd", 1000),
        ("indian", 1001),
        ("sgd", 1001),
    ]


def test_a_diverged_trial_is_a_result_at_chance_level(storage: str, tiny: dict[str, Any]) -> None:
    with opened(storage, tiny) as controller:
        assignment = claim(controller)
        assert train(controller, assignment, math.nan) is State.DIVERGED
        trial = controller._ledger.trial(assignment.id)
    assert (trial.state, trial.value) == (State.DIVERGED, 0.9)
    assert trial.reason == "loss not finite on seed 0"
    (told,) = optuna_trials(storage, "tiny/indian")
    assert (told.state, told.value) == (TrialState.COMPLETE, 0.9)
    assert told.user_attrs["outcome"] == "diverged"


def test_a_diverged_trial_never_wins(storage: str, tiny: dict[str, Any]) -> None:
    with opened(storage, tiny) as controller:
        for error in (math.nan, 0.2, 0.95, 0.3):
            train(controller, claim(controller), error)
        claim(controller)
        (event,) = controller._ledger.events(controller.study.id, "frozen")
    winners = {arm: winner["trial"] for arm, winner in event.data["winners"].items()}
    assert winners == {"indian": 1, "sgd": 0}


def test_an_arm_without_a_complete_trial_has_no_confirm_slots(
    storage: str, tiny: dict[str, Any]
) -> None:
    with opened(storage, tiny) as controller:
        for error in (math.nan, 0.2, math.nan, 0.3):
            train(controller, claim(controller), error)
        arms = []
        while (confirm := controller.claim(PROVENANCE)) is not None:
            arms.append(confirm.assignment.arm.name)
            train(controller, confirm, 0.1)
        assert controller.done
    assert arms == ["sgd", "sgd"]


def test_a_hopeless_trial_is_pruned_and_told_so(storage: str, tiny: dict[str, Any]) -> None:
    tiny["arms"] = tiny["arms"][:1]
    tiny["search"] |= {"trials": 6, "pruner": "median"}
    with opened(storage, tiny) as controller:
        states = [train(controller, claim(controller), e) for e in (0.2, 0.2, 0.2, 0.2, 0.9, 0.1)]
    assert states == [*[State.COMPLETE] * 4, State.PRUNED, State.COMPLETE]
    told = optuna_trials(storage, "tiny/indian")
    assert told[4].state is TrialState.PRUNED
    assert told[4].intermediate_values == {1: 0.9}


@pytest.mark.parametrize("generation", [None, 2])
def test_trials_that_others_add_in_optuna_change_nothing(
    tmp_path: Path, tiny: dict[str, Any], generation: int | None
) -> None:
    tiny["arms"] = tiny["arms"][:1]
    tiny["protocol"] |= {"epochs": 2}
    startup = {"n_startup_trials": 2}
    tiny["search"] |= {"trials": 8, "sampler": {"name": "tpe", **startup}}
    tiny["search"] |= {"pruner": {"name": "median", **startup}}
    if generation is not None:
        tiny["search"] |= {"generation": generation}
    searched = []
    for others in (0, 9):
        storage = f"sqlite:///{tmp_path / str(others)}.db"
        with opened(storage, tiny) as controller:
            for n, error in enumerate((0.2, 0.3, 0.2, 0.3, 0.1, 0.9, 0.1, 0.2)):
                if n == 4 and others:
                    study = optuna.load_study(study_name="tiny/indian", storage=storage)
                    best = optuna_trials(storage, "tiny/indian")[0]
                    for value in range(-others, 0):
                        best.values, best.user_attrs = [value], {}
                        best.intermediate_values = {1: -1.0, 2: -1.0}
                        study.add_trial(best)
                    study.enqueue_trial(best.params)
                    study.ask()
                    study.ask()
                train(controller, claim(controller), error)
            trials = controller._ledger.trials(controller.study.id, phase=Phase.TUNE)
            searched.append([(trial.config, trial.state) for trial in trials])
    assert State.PRUNED in {state for _, state in searched[0]}
    assert searched[0] == searched[1]


def test_wilcoxon_compares_seeds_and_skips_the_rest_of_a_loser(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["arms"] = tiny["arms"][:1]
    tiny["search"] |= {"pruner": "wilcoxon"}
    tiny["protocol"] |= {"tune_seeds": 8}
    with opened(storage, tiny) as controller:
        run_counts = []
        for error in (0.1, 0.8):
            assignment = claim(controller)
            assert not assignment.assignment.together
            for n, run in enumerate(assignment.runs):
                score = error + n / 1000
                for epoch in (1, 2):
                    record = measured(epoch, 1, 1, 1, 1 - score, 1, 1)
                    report(controller, assignment, {run.id: record})
                decision = controller.finish_run(assignment, run)
                if decision is Decision.PRUNE:
                    controller.prune(assignment)
                    break
            else:
                controller.finish(assignment)
            run_counts.append(n + 1)
        states = [trial.state for trial in controller._ledger.trials(controller.study.id)]
    assert run_counts[0] == 8
    assert run_counts[1] < 8
    assert states == [State.COMPLETE, State.PRUNED]


def test_one_diverged_seed_makes_the_trial_diverged(storage: str, tiny: dict[str, Any]) -> None:
    tiny["protocol"] |= {"tune_seeds": 2}
    with opened(storage, tiny) as controller:
        assignment = claim(controller)
        first, second = assignment.runs
        report(controller, assignment, records(assignment, 1, 0.2))
        controller.finish_run(assignment, first, not_finite="validation_own")
        report(controller, assignment, {second.id: records(assignment, 2, 0.2)[second.id]})
        controller.finish_run(assignment, second)
        assert controller.finish(assignment) is State.DIVERGED
        states = [run.state for run in controller._ledger.runs(assignment.id)]
        reason = controller._ledger.trial(assignment.id).reason
    assert states == [State.DIVERGED, State.COMPLETE]
    assert reason == "validation_own not finite on seed 0"


def test_a_taken_over_trial_keeps_its_configuration_and_its_optuna_trial(
    storage: str, tiny: dict[str, Any]
) -> None:
    with opened(storage, tiny) as first:
        lost = claim(first)
        report(first, lost, records(lost, 1, 0.4))
        assert (shown := look(first._ledger, first.study)).repeated == shown.taken_over == 0
        (dead,) = first._ledger.workers(first.study.id)
        first._ledger.record_lost_worker(dead, [lost.path])
    with opened(storage, tiny, worker="second") as second:
        taken = claim(second)
        assert taken.lease.trial.id == lost.lease.trial.id
        assert taken.assignment.config == lost.assignment.config
        assert [run.epochs_done for run in taken.runs] == [1]
        # The checkpoint may be older than the record: epoch 1 is trained and reported again.
        train(second, taken, 0.4)
        shown = look(second._ledger, second.study)
    (told,) = optuna_trials(storage, "tiny/indian")
    assert (told.state, told.intermediate_values) == (TrialState.COMPLETE, {1: 0.4, 2: 0.4})
    assert (shown.taken_over, shown.repeated) == (1, 1)
    assert (shown.as_json()["trials_taken_over"], shown.as_json()["epochs_repeated"]) == (1, 1)
    Console(file=(printed := io.StringIO()), width=100).print(shown.shown())
    assert "that died or fell silent: 1. Epochs trained twice: 1." in printed.getvalue()


def test_only_epochs_that_are_trained_again_are_counted_once(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["protocol"] |= {"epochs": 6}
    with opened(storage, tiny) as controller:
        trial = claim(controller)
        # Back to the checkpoint after epoch 1, and further back when it is lost.
        for epoch in (1, 2, 3, 2, 3, 4, 1, 2, 3, 4, 5, 6):
            report(controller, trial, records(trial, epoch, 0.4))
        told = [each.data for each in controller._ledger.events(controller.study.id, REPEATED)]
        (run,) = trial.runs
        assert told == [{"epochs": {str(run.id): [2, 3]}}, {"epochs": {str(run.id): [1, 4]}}]
        assert look(controller._ledger, controller.study).repeated == 4


def test_a_worker_that_dies_between_optuna_s_write_and_ours_leaves_no_second_trial(
    storage: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(storage, tiny) as first:

        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(first._ledger, "begin", die)
        with pytest.raises(KeyboardInterrupt):
            first.claim(PROVENANCE)
        first._ledger.leave("worker")
    (asked,) = optuna_trials(storage, "tiny/indian")
    with opened(storage, tiny, worker="second") as second:
        taken = claim(second)
        assert {name: taken.assignment.config[name] for name in asked.params} == asked.params
        train(second, taken, 0.4)
    (told,) = optuna_trials(storage, "tiny/indian")
    assert (told.number, told.state) == (asked.number, TrialState.COMPLETE)


def test_what_a_crash_left_half_written_is_repaired(
    storage: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(storage, tiny) as controller:
        untold = claim(controller)
        monkeypatch.setattr(controller, "_tell", lambda *_: None)
        train(controller, untold, 0.25)
        held = claim(controller)
    with optuna_study(storage, "tiny/sgd") as theirs:
        stray = theirs.ask()
    with Ledger.open(storage) as ledger:
        study = RegisteredStudy.open(ledger, "tiny")
        projection = Projection.beside(study)
        repairs = reconcile(study, projection, lambda worker: True)
        assert repairs == Repairs(freed=1, lost=1, told=1, dropped=1)
        assert not reconcile(study, projection, lambda worker: True)
        projection.close()
        assert ledger.trial(untold.lease.trial.id).told
        expiry = ledger.trial(held.lease.trial.id).lease_expires_at
        assert expiry is not None
        assert ledger.claim(study.id, Phase.TUNE, "worker") is not None
    (told,) = optuna_trials(storage, "tiny/indian")
    assert (told.state, told.value) == (TrialState.COMPLETE, 0.25)
    running, dropped = optuna_trials(storage, "tiny/sgd")
    assert (running.state, dropped.number, dropped.state) == (
        TrialState.RUNNING,
        stray.number,
        TrialState.FAIL,
    )


@pytest.mark.postgres
@pytest.mark.slow
def test_a_study_goes_on_through_restarts_of_the_server(
    postgres: PostgresServer, tiny: dict[str, Any]
) -> None:
    storage = postgres.new_database()
    tiny["search"] |= {"pruner": "median", "trials": 1}
    tiny["protocol"] |= {"confirm_seeds": 1}
    with opened(storage, tiny) as controller:
        while True:
            with postgres.down(seconds=0.2):
                assignment = controller.claim(PROVENANCE)
            if assignment is None:
                break
            for epoch in range(1, assignment.assignment.epochs + 1):
                with postgres.down(seconds=0):
                    report(controller, assignment, records(assignment, epoch, 0.25))
            with postgres.down(seconds=0.1):
                controller.finish(assignment)
        assert controller.done
        trials = controller._ledger.trials(controller.study.id)
    assert [trial.state for trial in trials] == [State.COMPLETE] * 4
    for part, count in (("indian", 1), ("sgd", 1), ("confirm", 2)):
        told = optuna_trials(storage, f"tiny/{part}")
        assert [trial.state for trial in told] == [TrialState.COMPLETE] * count
        assert [trial.intermediate_values for trial in told] == [{1: 0.25, 2: 0.25}] * count


def test_another_study_under_the_same_name_is_refused_with_the_difference(
    storage: str, tiny: dict[str, Any]
) -> None:
    with opened(storage, tiny):
        pass
    tiny["search"]["trials"] = 3
    tiny["arms"][1]["name"] = "other"
    with (
        Ledger.open(storage) as ledger,
        pytest.raises(StudyFileError, match="registered") as caught,
    ):
        register(ledger, parse_study(tiny, source="study.toml"))
    assert str(caught.value).splitlines()[1:3] == [
        "  search.trials: registered 2, now 3",
        "  arms[2].name: registered 'sgd', now 'other'",
    ]


def test_arms_that_are_not_tuned_are_confirmed_beside_the_winners(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["arms"] = [
        {"name": "sgd-matched", "optimizer": "sgd", "matched_rate_of": "indian"},
        {
            "name": "untuned",
            "optimizer": "indian",
            "fixed": True,
            "space": {"alpha": 0.5, "beta": 0.1, "gamma0": 0.2, "dropout": 0.3},
        },
        {
            "name": "indian",
            "optimizer": "indian",
            "space": {"weight_decay": 0.001, "dropout": {"low": 0.1, "high": 0.6}},
        },
    ]
    with opened(storage, tiny) as controller:
        while (assignment := controller.claim(PROVENANCE)) is not None:
            if assignment.phase is Phase.CONFIRM:
                break
            assert assignment.assignment.arm.name == "indian"
            train(controller, assignment, 0.1 * (1 + assignment.lease.trial.index))
        assert assignment is not None
        trials = controller._ledger.trials(controller.study.id, phase=Phase.CONFIRM)
        configs = {controller._arms[trial.arm_id].name: trial.config for trial in trials}
        (frozen,) = controller._ledger.events(controller.study.id, "frozen")
    winner, matched = configs["indian"], configs["sgd-matched"]
    assert winner is not None
    assert matched == {
        "weight_decay": 0.001 * winner["alpha"],
        "gamma0": winner["gamma0"] / winner["alpha"],
        "dropout": winner["dropout"],
    }
    assert configs["untuned"] == {"alpha": 0.5, "beta": 0.1, "gamma0": 0.2, "dropout": 0.3}
    assert {arm: how["trial"] for arm, how in frozen.data["winners"].items()} == {
        "sgd-matched": None,
        "untuned": None,
        "indian": 0,
    }
    rdb = optuna.storages.RDBStorage(storage)
    names = [study.study_name for study in rdb.get_all_studies()]
    rdb.remove_session()
    rdb.engine.dispose()
    assert names == ["tiny/indian", "tiny/confirm"]


@pytest.mark.postgres
def test_a_worker_keeps_one_connection_for_the_ledger_and_optuna(
    postgres: PostgresServer, tiny: dict[str, Any]
) -> None:
    address = postgres.new_database()
    watch = sa.create_engine(address, poolclass=sa.NullPool)
    query = "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"

    def kept() -> int:
        # A connection that its client has closed takes the server a moment.
        for _ in range(100):
            with watch.connect() as connection:
                count = int(connection.execute(sa.text(query)).scalar_one())
            if count == 1:
                break
            time.sleep(0.05)
        return count

    with opened(address, tiny) as controller:
        ledger = controller._ledger
        assignment = claim(controller)
        together = threading.Barrier(4)

        def beat(_: int) -> None:
            together.wait()
            for _ in range(5):
                ledger.heartbeat("worker")

        with ThreadPoolExecutor(4) as pool:
            hearts = [pool.submit(beat, heart) for heart in range(4)]
            train(controller, assignment, 0.5)
        for heart in hearts:
            heart.result()
        assert kept() == 1
        controller.close()
        # Closing it gives up nothing that is the ledger's.
        ledger.heartbeat("worker")
        assert kept() == 1
