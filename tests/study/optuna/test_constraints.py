"""``search.untrained``: samplers hear that a trial did not train, in place of a score alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import StudyFileError
from indian_tune.ledger import Ledger, Phase
from indian_tune.optim import stability_limit
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import rebuild
from tests.study.playing import Played

if TYPE_CHECKING:
    from indian_tune.study.assignment import RunningTrial

TRIALS = 6


@pytest.fixture
def study(tiny: dict[str, Any]) -> dict[str, Any]:
    sampler = {"name": "tpe", "n_startup_trials": 2}
    tiny["search"] |= {"trials": TRIALS, "sampler": sampler, "untrained": "constraint"}
    return tiny


def error_of(trial: RunningTrial) -> float:
    """The first trial diverges, the second does not train, the others do."""
    return [math.inf, 0.81, 0.18][min(trial.lease.trial.index, 2)]


def told(played: Played, arm: str) -> list[dict[str, float]]:
    projection = Projection.beside(played.study)
    try:
        return [trial.constraints for trial in projection.trials(arm)]
    finally:
        projection.close()


@pytest.mark.parametrize(
    ("sampler", "reports_training"), [("tpe", True), ("gp", True), ("tpe", False)]
)
def test_a_trial_that_does_not_train_breaks_a_constraint(
    study: dict[str, Any], storage: str, sampler: str, reports_training: bool
) -> None:
    study["search"]["sampler"] = {"name": sampler, "n_startup_trials": 2}
    with Ledger.open(storage) as ledger:
        spec = parse_study(study, source="test")
        played = Played(ledger, spec, error_of, reports_training=reports_training, until=Phase.TUNE)
        played.work()
        of_sgd, of_indian = told(played, "sgd"), told(played, "indian")
        configs = [trial.config or {} for trial in played.trials("indian", Phase.TUNE)]
        played.reconcile(rebuild)
        assert (told(played, "sgd"), told(played, "indian")) == (of_sgd, of_indian)
    # Shares of the error at chance level, 0.9, less .8.
    trains = pytest.approx([0.2, 0.1, *[-0.6] * (TRIALS - 2)])
    assert [each["trains"] for each in of_sgd] == trains
    assert [each["trains"] for each in of_indian] == trains
    assert all(each.keys() == {"trains"} for each in of_sgd)
    assert [each["stable"] for each in of_indian] == pytest.approx(
        [math.log(0.5 / stability_limit(c["alpha"], c["beta"], c["gamma0"])) for c in configs]
    )


def test_without_it_nothing_is_told_and_nothing_registered(
    study: dict[str, Any], storage: str
) -> None:
    del study["search"]["untrained"]
    spec = parse_study(study, source="test")
    assert "untrained" not in spec.canonical()["search"]
    with Ledger.open(storage) as ledger:
        played = Played(ledger, spec, error_of, until=Phase.TUNE)
        played.work()
        assert told(played, "indian") == [{}] * TRIALS


def test_a_sampler_that_keeps_to_no_constraints_is_refused(study: dict[str, Any]) -> None:
    study["search"]["sampler"] = "cmaes"
    with pytest.raises(StudyFileError, match=r"search.sampler = 'cmaes' does not: use 'tpe', 'gp'"):
        parse_study(study, source="test")
