"""With generations, what is decided depends on earlier generations alone, whoever decides it."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.session import open_session
from indian_tune.errors import StudyFileError
from indian_tune.ledger import LedgerReader, Phase, State, storage_url
from indian_tune.study.controller import Controller, Decision
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.shown_trial import SLOT
from indian_tune.study.registration import extend
from tests.conftest import measured
from tests.reports import report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indian_tune.study.assignment import RunningTrial
    from tests.conftest import PostgresServer

Trials = dict[tuple[str, int], Any]


@pytest.fixture
def study(tiny: dict[str, Any]) -> dict[str, Any]:
    """Two arms of 9 trials in generations of 3."""
    tiny["search"] |= {"trials": 9, "sampler": "tpe", "generation": 3}
    tiny["protocol"] |= {"epochs": 3, "tune_epochs": 3, "confirm_seeds": 0}
    return tiny


@contextmanager
def opened(storage: str, study: dict[str, Any], worker: str) -> Iterator[Controller]:
    spec = parse_study(study, source="study.toml")
    with open_session(spec, storage_url(storage), None) as session:
        session.ledger.join(session.id, worker, host="elsewhere", pid=1, started="0", device="cpu")
        controller = Controller(session, worker)
        yield controller
        controller.close()


def claim(controller: Controller) -> RunningTrial:
    assignment = controller.claim({})
    assert assignment is not None
    return assignment


def error_of(assignment: RunningTrial) -> float:
    """A score that depends on the configuration alone, as that of a training does."""
    return 0.1 + 0.8 * (hash(tuple(assignment.assignment.config.values())) % 1000) / 1000


def train(controller: Controller, assignment: RunningTrial) -> State:
    error = error_of(assignment)
    for epoch in range(1, assignment.assignment.epochs + 1):
        record = measured(epoch, error, 1 - error, error, 1 - error, 0.5, 0.5)
        records = {run.id: record for run in assignment.runs}
        if report(controller, assignment, records) is Decision.PRUNE:
            return controller.prune(assignment)
    for run in assignment.runs:
        controller.finish_run(assignment, run)
    return controller.finish(assignment)


def play(storage: str, study: dict[str, Any], *, hands: int, seed: int) -> None:
    """Finish a study, with several trials under way at once that end in any order."""
    choose = random.Random(seed)
    held: list[RunningTrial] = []
    with opened(storage, study, "worker") as controller:
        while not controller.done:
            while len(held) < hands:
                assignment = controller.claim({})
                if assignment is None:
                    break
                held.append(assignment)
            if held:
                train(controller, held.pop(choose.randrange(len(held))))


def outcomes(storage: str) -> Trials:
    with LedgerReader.open(storage) as ledger:
        record = ledger.study("tiny")
        arms = {arm.id: arm.name for arm in ledger.arms(record.id)}
        return {
            (arms[trial.arm_id], trial.index): (trial.config, trial.state, trial.value)
            for trial in ledger.trials(record.id, phase=Phase.TUNE)
        }


def test_a_generation_is_asked_for_whole_and_the_next_waits_for_it(
    storage: str, study: dict[str, Any]
) -> None:
    study["arms"] = study["arms"][:1]
    with opened(storage, study, "worker") as controller, LedgerReader.open(storage) as ledger:
        first = [claim(controller)]
        asked = [trial.config is not None for trial in ledger.trials(controller.study.id)]
        assert asked == [True] * 3 + [False] * 6
        first += [claim(controller), claim(controller)]
        assert [assignment.lease.trial.index for assignment in first] == [0, 1, 2]
        for assignment in first:
            assert controller.claim({}) is None
            assert not controller.done
            train(controller, assignment)
        assert claim(controller).lease.trial.index == 3


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        ("tpe", "hyperband"),
        pytest.param("random", "median", marks=pytest.mark.slow),
        pytest.param("gp", "none", marks=pytest.mark.slow),
        pytest.param("cmaes", "median", marks=pytest.mark.slow),
    ],
)
def test_the_record_does_not_depend_on_who_does_what_when(
    storage: str, tmp_path: Path, study: dict[str, Any], sampler: str, pruner: str
) -> None:
    study["search"] |= {"sampler": sampler, "pruner": pruner}
    alone = f"sqlite:///{tmp_path / 'alone.db'}"
    play(alone, study, hands=1, seed=0)
    play(storage, study, hands=5, seed=1)
    expected = outcomes(alone)
    assert outcomes(storage) == expected
    assert len({str(config) for config, _, _ in expected.values()}) == 18
    if pruner != "none":
        assert State.PRUNED in {state for _, state, _ in expected.values()}


def test_an_extended_study_is_the_one_that_was_larger_from_the_start(
    storage: str, tmp_path: Path, study: dict[str, Any]
) -> None:
    large = f"sqlite:///{tmp_path / 'large.db'}"
    play(large, study, hands=1, seed=0)
    study["search"]["trials"] = 5
    play(storage, study, hands=2, seed=1)
    with opened(storage, study, "worker") as controller:
        extend(controller._registered, 4)
    play(storage, study, hands=2, seed=2)
    assert outcomes(storage) == outcomes(large)


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_a_worker_that_dies_while_asking_leaves_nothing_twice(
    storage: str, tmp_path: Path, study: dict[str, Any], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    play(undisturbed, study, hands=1, seed=0)
    count = 0

    def die(name: str) -> None:
        nonlocal count
        count += 1
        if count == asked:
            raise KeyboardInterrupt(name)

    monkeypatch.setattr("indian_tune.study.optuna.suggester.fault_point", die)
    with opened(storage, study, "dead") as controller:
        with pytest.raises(KeyboardInterrupt, match="after-optuna-ask"):
            controller.claim({})
        controller._ledger.leave("dead")
    monkeypatch.undo()
    play(storage, study, hands=2, seed=1)
    assert outcomes(storage) == outcomes(undisturbed)
    projection = Projection(storage_url(storage), "tiny", ["indian", "sgd"])
    for arm in ("indian", "sgd"):
        slots = Counter(trial.user_attrs[SLOT] for trial in projection.trials(arm))
        assert set(slots.values()) == {1}
        assert len(slots) == 9
    projection.close()


def test_outcomes_that_optuna_has_not_heard_are_told_before_it_is_asked(
    storage: str, tmp_path: Path, study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    play(undisturbed, study, hands=1, seed=0)

    def die(name: str) -> None:
        if name == "after-ledger-finish":
            raise KeyboardInterrupt(name)

    with opened(storage, study, "worker") as controller:
        for _ in range(6):
            assignment = claim(controller)
            with monkeypatch.context() as patch:
                patch.setattr("indian_tune.study.controller.fault_point", die)
                with pytest.raises(KeyboardInterrupt):
                    train(controller, assignment)
    play(storage, study, hands=1, seed=0)
    assert outcomes(storage) == outcomes(undisturbed)


def test_a_generation_larger_than_the_budget_is_refused(study: dict[str, Any]) -> None:
    study["search"]["generation"] = 10
    with pytest.raises(StudyFileError, match=r"search\.generation = 10 must be at most .* = 9"):
        parse_study(study, source="study.toml")


@pytest.mark.postgres
def test_one_worker_asks_while_the_others_wait(
    postgres: PostgresServer, study: dict[str, Any]
) -> None:
    with (
        opened(postgres.new_database(), study, "worker") as controller,
    ):
        ledger, record = controller._ledger, controller.study
        leases = [ledger.claim(record.id, Phase.TUNE, "worker", generation=3) for _ in range(3)]
        # One for each arm; nothing else before they have asked.
        assert [None if each is None else each.trial.index for each in leases] == [0, 0, None]


def test_the_former_name_of_a_generation_gives_the_same_study(study: dict[str, Any]) -> None:
    spec = parse_study(study, source="study.toml")
    study["search"]["batch_size"] = study["search"].pop("generation")
    former = parse_study(study, source="study.toml")
    assert former == spec
    assert former.digest == spec.digest
    assert spec.canonical()["search"]["batch_size"] == 3
    assert parse_study(spec.canonical(), source="ledger") == spec


def test_a_generation_under_both_names_is_refused_in_one_sentence(study: dict[str, Any]) -> None:
    study["search"]["batch_size"] = 3
    message = "search.generation = 3 and search.batch_size = 3, its former name, are both given"
    with pytest.raises(StudyFileError, match=rf"^study\.toml: {message}: remove batch_size$"):
        parse_study(study, source="study.toml")


def test_a_registered_generation_that_differs_is_told_by_the_name_in_a_study_file(
    tmp_path: Path, study: dict[str, Any]
) -> None:
    storage = str(tmp_path / "study.db")
    with opened(storage, study, "worker"):
        study["search"]["generation"] = 4
    with (
        pytest.raises(StudyFileError, match=r"search\.generation: registered 3, now 4"),
        opened(storage, study, "worker"),
    ):
        pass
