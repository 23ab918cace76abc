"""Nothing that is decided depends on a test result."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.ledger import Phase
from indian_tune.study.file.spec import parse_study
from indian_tune.study.ranking import rank
from tests.conftest import measured
from tests.reports import report
from tests.study.test_controller import PROVENANCE, opened

if TYPE_CHECKING:
    from collections.abc import Callable


def decisions(storage: str, study: dict[str, Any], sealed: Callable[[int], float]) -> list[Any]:
    """Run a study with made-up test results; return every choice, score and rank."""
    made: list[Any] = []
    with opened(storage, study) as controller:
        while (assignment := controller.claim(PROVENANCE)) is not None:
            made.append(
                (assignment.path, dict(assignment.assignment.config), assignment.assignment.epochs)
            )
            for epoch in range(1, assignment.assignment.epochs + 1):
                error = 0.1 + 0.05 * len(made) / epoch
                measures = dataclasses.replace(
                    measured(
                        *(epoch, error, 1 - error, error, 1 - error),
                        *(sealed(len(made)), sealed(len(made) + epoch)),
                    ),
                    test_correct="10" if epoch == assignment.assignment.epochs else None,
                )
                records = {run.id: measures for run in assignment.runs}
                made.append(report(controller, assignment, records))
            for run in assignment.runs:
                controller.finish_run(assignment, run)
            made.append(controller.finish(assignment))
        ledger, record = controller._ledger, controller.study
        made += [event.data["winners"] for event in ledger.events(record.id, "frozen")]
        made += [trial.config for trial in ledger.trials(record.id, phase=Phase.CONFIRM)]
        made += [(result.name, result.value, result.confirmed) for result in rank(ledger, record)]
    return made


@pytest.mark.parametrize("mode", ["honest", pytest.param("paper", marks=pytest.mark.slow)])
def test_other_test_results_change_no_decision(
    tmp_path: Any, tiny: dict[str, Any], mode: str
) -> None:
    tiny["protocol"]["mode"] = mode
    tiny["search"] |= {"sampler": "tpe", "trials": 12, "pruner": "median"}
    made = [
        decisions(f"sqlite:///{tmp_path}/{n}.db", tiny, sealed)
        for n, sealed in enumerate((lambda k: 0.5, lambda k: 1 / (k + 1), lambda k: float("nan")))
    ]
    assert made[0] == made[1] == made[2]
    assert len(made[0]) > 50


@pytest.mark.parametrize("key", ["objective", "objectives"])
def test_no_objective_may_read_test_data(tiny: dict[str, Any], key: str) -> None:
    value: Any = "test_error" if key == "objective" else ["validation_error", "test_error"]
    tiny["protocol"][key] = value
    with pytest.raises(StudyFileError, match="'test_error' reads test data, which must not"):
        parse_study(tiny, source="study.toml")
