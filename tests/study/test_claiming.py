"""Which trial the controller hands out, and what it takes up again; the training is played."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.trial import TrialState

from indian_tune.ledger import LOST
from indian_tune.study import assigner as assigner_module
from indian_tune.study import controller as controller_module
from indian_tune.study.completion import completion
from indian_tune.study.controller import Decision
from indian_tune.study.faults import (
    AFTER_ASK,
    AFTER_BEGIN,
    AFTER_CLAIM,
    AFTER_EPOCH,
    AFTER_FINISH,
    AFTER_FREEZE,
    AFTER_REPORT,
    AFTER_TELL,
)
from tests.reports import report
from tests.study.playing import played
from tests.study.test_controller import (
    PROVENANCE,
    claim,
    opened,
    optuna_trials,
    records,
    train,
)


@pytest.fixture
def storage(usual_database: str) -> str:
    """Every test here runs on both databases."""
    return usual_database


@pytest.mark.parametrize("crash", ["before its runs are recorded", "after that"])
def test_a_trial_on_a_fresh_seed_that_is_begun_twice_has_one_optuna_trial(
    crash: str, storage: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(storage, tiny) as first:
        for error in (0.1, 0.2, 0.3, 0.4):
            train(first, claim(first), error)
        with monkeypatch.context() as patch:
            if crash == "before its runs are recorded":

                def die(*_: object, **__: object) -> None:
                    raise KeyboardInterrupt

                patch.setattr(first._ledger, "begin", die)
                with pytest.raises(KeyboardInterrupt):
                    first.claim(PROVENANCE)
            else:
                begun = claim(first)
                report(first, begun, records(begun, 1, 0.4))
        first._ledger.leave("worker")
    (asked,) = optuna_trials(storage, "tiny/confirm")
    with opened(storage, tiny, worker="second") as second:
        while (assignment := second.claim(PROVENANCE)) is not None:
            train(second, assignment, 0.4)
    told = optuna_trials(storage, "tiny/confirm")
    assert told[0].number == asked.number
    assert [(trial.params["arm"], trial.params["seed"]) for trial in told] == [
        ("indian", 1000),
        ("sgd", 1000),
        ("indian", 1001),
        ("sgd", 1001),
    ]
    assert all(trial.intermediate_values == {1: 0.4, 2: 0.4} for trial in told)


@pytest.mark.parametrize("split", ["study", "replicate"])
def test_trials_side_by_side_share_their_optimizer_and_their_data(
    split: str, storage: str, tiny: dict[str, Any]
) -> None:
    tiny["problem"]["split"] = split
    tiny["protocol"]["confirm_seeds"] = 2
    tiny["search"] |= {"trials": 1, "replicates": 2}
    tiny["arms"].append({**tiny["arms"][0], "name": "again"})
    with played(storage, tiny, lambda _: 0.5) as study:
        firsts = [study.claim(), study.claim()]
        beside = []
        for first in firsts:
            names = []
            while (trial := study.controller.claim(PROVENANCE, beside=first)) is not None:
                names.append(trial.assignment.search)
            beside.append(names)
        assert [each.assignment.search for each in firsts if each] == ["indian/r0", "sgd/r0"]
    if split == "replicate":
        assert beside == [["again/r0"], []]
    else:
        assert beside == [["again/r0", "indian/r1", "again/r1"], ["sgd/r1"]]


def test_an_arm_that_waits_for_another_is_not_trained_beside_it(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["search"] |= {"trials": 1}
    tiny["arms"].append({**tiny["arms"][0], "name": "again", "first": ["indian"]})
    with opened(storage, tiny) as controller:
        first = claim(controller)
        assert controller.claim(PROVENANCE, beside=first) is None
        assert claim(controller).assignment.arm.name == "sgd"
        train(controller, first, 0.1)
        beside = controller.claim(PROVENANCE, beside=first)
        assert beside is not None
        assert beside.assignment.arm.name == "again"


def test_winners_are_not_frozen_unasked_while_a_trial_has_failed(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["search"] |= {"trials": 1}
    with opened(storage, tiny) as controller:
        train(controller, claim(controller), 0.1)
        while (trial := controller.claim(PROVENANCE)) is not None:
            controller.fail_attempt(trial, "ValueError: played")
        assert controller.done
        assert not controller._ledger.frozen(controller.study.id)


def test_no_more_trials_are_begun_where_the_first_three_fail_alike(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["search"] |= {"trials": 4}
    said = "3 trials of study 'tiny' failed (indian/0, indian/1, sgd/0), all with 'ValueError: own"
    with opened(storage, tiny) as controller:
        for _ in range(3):
            controller.fail_attempt(claim(controller), "Traceback\nValueError: own", final=True)
        assert controller.claim(PROVENANCE) is None
        assert controller.done
        found = completion(controller._ledger, controller.study)
        assert found.failures.startswith(said)
        with opened(storage, tiny, freeze_anyway=True) as other:
            assert claim(other) is not None
        assert controller._ledger.retry(controller.study.id) == 3
        for _ in range(3):
            controller.fail_attempt(claim(controller), "Traceback\nValueError: own", final=True)
        assert claim(controller) is not None


@pytest.mark.parametrize("first", ["another reason", "a result"])
def test_trials_that_fail_otherwise_do_not_end_a_search(
    first: str, storage: str, tiny: dict[str, Any]
) -> None:
    tiny["search"] |= {"trials": 4}
    with opened(storage, tiny) as controller, opened(storage, tiny) as other:
        if first == "a result":
            train(other, claim(other), 0.1)
        else:
            controller.fail_attempt(claim(controller), "KeyError: 'own'", final=True)
        for _ in range(3):
            controller.fail_attempt(claim(controller), "ValueError: own", final=True)
        assert claim(controller) is not None


def test_a_lost_process_is_recorded_with_the_reason_why_it_was_ended(
    storage: str, tiny: dict[str, Any]
) -> None:
    with opened(storage, tiny) as controller:
        trial = claim(controller)
        controller.record_lost_process(trial, "actor 1", host="here")
        controller.record_lost_process(trial, "actor 2", host="here", reason="no progress")
        events = controller._ledger.events(controller.study.id, LOST)
    same = {"host": "here", "device": "ray", "trials": ["indian/0"], "status": None}
    assert [event.data for event in events] == [
        {"worker": "actor 1", **same},
        {"worker": "actor 2", **same, "reason": "no progress"},
    ]


def test_each_place_where_a_crash_is_tried_is_passed_once_it_is_reached(
    storage: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[str] = []
    for module in (controller_module, assigner_module):
        monkeypatch.setattr(module, "fault_point", passed.append)
    tiny["search"] |= {"trials": 1}
    with played(storage, tiny, lambda _: 0.5) as study:
        whole = [AFTER_CLAIM, AFTER_ASK, AFTER_BEGIN, *[AFTER_EPOCH, AFTER_REPORT] * 2]
        whole += [AFTER_FINISH, AFTER_TELL]
        study.work()
        assert passed == [*whole * 2, AFTER_FREEZE, *whole * 4]
        assert study.claim() is None
        assert passed[-1] == AFTER_TELL


def test_each_choice_of_winners_and_levels_is_a_place_where_a_crash_is_tried(
    storage: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[str] = []
    monkeypatch.setattr(controller_module, "fault_point", passed.append)
    tiny["search"] |= {"trials": 1}
    tiny["arms"].append({"name": "control", "optimizer": "sgd", "response_of": "indian"})
    with played(storage, tiny, lambda _: 0.5) as study:
        study.work()
    assert passed.count(AFTER_FREEZE) == 2


def test_optuna_is_told_of_a_failure_after_the_last_attempt_alone(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["arms"] = tiny["arms"][:1]
    tiny["search"] |= {"trials": 1}
    states = []
    with opened(storage, tiny) as controller:
        while (trial := controller.claim(PROVENANCE)) is not None:
            controller.fail_attempt(trial, "ValueError: played")
            (told,) = optuna_trials(storage, "tiny/indian")
            states.append(told.state)
    assert states == [TrialState.RUNNING, TrialState.RUNNING, TrialState.FAIL]


def test_a_pruner_over_seeds_is_not_asked_after_the_last_one(
    storage: str, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny["search"] |= {"pruner": "wilcoxon"}
    tiny["protocol"] |= {"tune_seeds": 2}
    with opened(storage, tiny) as controller:
        monkeypatch.setattr(controller, "_should_prune", lambda _: True)
        trial = claim(controller)
        decisions = []
        for run in trial.runs:
            for epoch in (1, 2):
                report(controller, trial, {run.id: records(trial, epoch, 0.4)[run.id]})
            decisions.append(controller.finish_run(trial, run))
    assert decisions == [Decision.PRUNE, Decision.CONTINUE]


def test_a_trial_waits_for_the_generation_before_its_own(
    storage: str, tiny: dict[str, Any]
) -> None:
    tiny["arms"] = tiny["arms"][:1]
    tiny["search"] |= {"trials": 2, "generation": 1}
    with opened(storage, tiny) as controller:
        first = claim(controller)
        assert controller.claim(PROVENANCE) is None
        train(controller, first, 0.4)
        assert claim(controller).lease.trial.index == 1
