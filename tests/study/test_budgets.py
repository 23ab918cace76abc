"""Budgets of epochs and of seconds: real ledger and Optuna, training played by the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import InputError, StudyFileError
from indian_tune.ledger import Phase, State
from indian_tune.study.file.spec import parse_study
from indian_tune.study.registration import extend
from tests.conftest import measured
from tests.reports import report
from tests.study.test_controller import PROVENANCE, claim, opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.study.assignment import RunningTrial
    from indian_tune.study.controller import Controller


@pytest.fixture
def storage(usual_database: str) -> str:
    """Every test here runs on both databases."""
    return usual_database


def study(tiny: dict[str, Any], **search: Any) -> dict[str, Any]:
    tiny["search"] |= {"trials": 20, **search}
    tiny["protocol"] |= {"tune_epochs": 4, "epochs": 4, "confirm_seeds": 0}
    return tiny


def spend(controller: Controller, assignment: RunningTrial, epochs: int, seconds: float) -> None:
    """Train some epochs of a trial; fewer than all of them end in divergence."""
    (run,) = assignment.runs
    for epoch in range(1, epochs + 1):
        record = measured(epoch, seconds=seconds / epochs)
        report(controller, assignment, {run.id: record})
    controller.finish_run(
        assignment, run, not_finite="loss" * (epochs < assignment.assignment.epochs)
    )
    controller.finish(assignment)


def states(controller: Controller) -> Mapping[str, list[State]]:
    trials = controller._ledger.trials(controller.study.id, phase=Phase.TUNE)
    return {
        arm.name: [trial.state for trial in trials if trial.arm_id == arm.id]
        for arm in controller._arms.values()
    }


def test_epochs_that_were_not_used_pay_for_more_trials(storage: str, tiny: dict[str, Any]) -> None:
    with opened(storage, study(tiny, budget="epochs", epochs=12)) as controller:
        while (assignment := controller.claim(PROVENANCE)) is not None:
            short = assignment.assignment.arm.name == "indian" and assignment.lease.trial.index < 2
            spend(controller, assignment, 1 if short else 4, 1.0)
        assert controller.done
        outcome = states(controller)
        epochs = {part.arm.name: part.epochs_done for part in controller._ledger.progress(1)}
        spent = [event.data for event in controller._ledger.events(1, "budget spent")]
    assert outcome["sgd"] == [State.COMPLETE] * 3
    assert outcome["indian"] == [*[State.DIVERGED] * 2, *[State.COMPLETE] * 2]
    assert epochs == {"indian": 10, "sgd": 12}
    assert [(data["spent"], data["unused"]) for data in spent] == [(12.0, 17), (10.0, 16)]


def test_what_is_under_way_is_counted_whole(storage: str, tiny: dict[str, Any]) -> None:
    tiny["arms"] = tiny["arms"][:1]
    with opened(storage, study(tiny, budget="epochs", epochs=9)) as controller:
        first, second = claim(controller), claim(controller)
        # Two trials may need 8 of the 9 epochs: a third may have to wait, and none is lost yet.
        assert controller.claim(PROVENANCE) is None
        assert controller._ledger.open_trials(controller.study.id, Phase.TUNE)
        spend(controller, first, 4, 1.0)
        assert controller.claim(PROVENANCE) is None
        spend(controller, second, 1, 1.0)
        third = claim(controller)
        assert third.lease.trial.index == 2
        spend(controller, third, 4, 1.0)
        assert controller.claim(PROVENANCE) is None
        assert controller.done
        assert len(states(controller)["indian"]) == 3


def test_seconds_are_spent_until_they_are_gone(storage: str, tiny: dict[str, Any]) -> None:
    with opened(storage, study(tiny, budget="seconds", seconds=10.0)) as controller:
        while (assignment := controller.claim(PROVENANCE)) is not None:
            spend(
                controller, assignment, 4, 4.0 if assignment.assignment.arm.name == "sgd" else 6.0
            )
        assert {arm: len(made) for arm, made in states(controller).items()} == {
            "indian": 2,
            "sgd": 3,
        }


def test_fresh_seeds_cost_nothing_of_the_budget(storage: str, tiny: dict[str, Any]) -> None:
    file = study(tiny, budget="epochs", epochs=4)
    file["protocol"]["confirm_seeds"] = 2
    with opened(storage, file) as controller:
        phases = []
        while (assignment := controller.claim(PROVENANCE)) is not None:
            phases.append(assignment.phase)
            spend(controller, assignment, 4, 1.0)
        assert controller.done
    assert phases == [Phase.TUNE] * 2 + [Phase.CONFIRM] * 4


def test_a_budget_of_epochs_is_not_extended_by_trials(storage: str, tiny: dict[str, Any]) -> None:
    file = study(tiny, budget="epochs", epochs=12)
    with (
        opened(storage, file) as controller,
        pytest.raises(InputError, match=r"has a budget of 12 epochs per arm.*--as NEW-NAME"),
    ):
        extend(controller._registered, 3)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"budget": "epochs"}, "budget = 'epochs' needs epochs"),
        ({"budget": "seconds", "epochs": 5}, "do not match"),
        ({"epochs": 5}, "search.budget = 'trials' and search.epochs = 5 do not match"),
        ({"budget": "epochs", "epochs": 3}, "is less than one trial of 4 epochs"),
        ({"budget": "seconds", "seconds": 0.0}, "search.seconds = 0.0 must be above 0"),
        ({"budget": "epochs", "epochs": 40, "generation": 2}, "needs a fixed number of trials"),
        ({"budget": "hours"}, "search.budget = 'hours' is not known"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(
    tiny: dict[str, Any], search: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyFileError, match=message):
        parse_study(study(tiny, **search), source="study.toml")
