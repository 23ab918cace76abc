"""Extending a search beyond the ends at which winners lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
import pytest

from indian_tune.dashboard.notes import study_notes
from indian_tune.errors import InputError
from indian_tune.export.claims import exported_claims
from indian_tune.ledger import Phase
from indian_tune.service.background import step_size_ranges
from indian_tune.study.edges import find_edges
from indian_tune.study.file.space import Range, parse_space
from indian_tune.study.optuna.reconcile import rebuild
from indian_tune.study.ranking import rank
from indian_tune.study.registration import extend_space
from indian_tune.study.space_extension import extended_space
from indian_tune.study.space_history import SpaceHistory
from tests.study.test_controller import PROVENANCE, opened, train

if TYPE_CHECKING:
    from indian_tune.study.controller import Controller


@pytest.fixture
def storage(usual_database: str) -> str:
    """Every test here runs on both databases."""
    return usual_database


def wider(raw: dict[str, Any], config: dict[str, float], *, grid: bool) -> dict[str, Any] | None:
    edges = find_edges("sgd", parse_space(raw, "space"), config)
    return extended_space("sgd", raw, edges, grid=grid)


def test_a_range_takes_the_ends_that_were_proposed() -> None:
    raw = {"gamma0": {"low": 0.01, "high": 1.0, "log": True}, "decay_power": 0.5}
    assert wider(raw, {"gamma0": 0.99, "decay_power": 0.5}, grid=False) == {
        "gamma0": {"low": 0.01, "high": 10.0, "log": True},
        "decay_power": 0.5,
    }
    assert wider(raw, {"gamma0": 0.1, "decay_power": 0.5}, grid=False) is None


def test_a_range_with_steps_keeps_its_values() -> None:
    raw = {"gamma0": {"low": 0.5, "high": 0.8, "step": 0.1}}
    assert wider(raw, {"gamma0": 0.5}, grid=False) == {
        "gamma0": {"low": pytest.approx(0.2), "high": 0.8, "step": 0.1}
    }


def test_a_grid_goes_on_at_its_own_spacing() -> None:
    raw = {"gamma0": {"grid": [0.01, 0.1, 1.0]}}
    assert wider(raw, {"gamma0": 0.01}, grid=True) == {
        "gamma0": {"grid": [0.0001, 0.001, 0.01, 0.1, 1.0]}
    }
    assert wider(raw, {"gamma0": 1.0}, grid=True) == {
        "gamma0": {"grid": [0.01, 0.1, 1.0, 10.0, 100.0]}
    }
    assert wider(raw, {"gamma0": 1.0}, grid=False) is None


def test_a_grid_ends_where_the_hyperparameter_does() -> None:
    raw = {"gamma0": 0.1, "decay_power": {"grid": [0.25, 0.5, 0.75]}}
    assert wider(raw, {"gamma0": 0.1, "decay_power": 0.75}, grid=True) is None


def tune(controller: Controller) -> list[float]:
    """Let the largest step size win; return those that were tried."""
    tried = []
    while (assignment := controller.claim(PROVENANCE)) is not None:
        gamma0 = assignment.assignment.config["gamma0"]
        train(controller, assignment, 0.9 / (1 + gamma0))
        if assignment.phase is Phase.TUNE:
            tried.append(gamma0)
    assert controller.done
    return tried


def only_sgd(tiny: dict[str, Any], sampler: str, trials: int, gamma0: Any) -> dict[str, Any]:
    tiny["arms"] = [{"name": "sgd", "optimizer": "sgd", "space": {"gamma0": gamma0}}]
    tiny["search"] = {"sampler": sampler, "trials": trials}
    return tiny


@pytest.mark.parametrize("sampler", ["qmc", "tpe"])
def test_new_trials_are_drawn_from_the_wider_space(
    storage: str, tiny: dict[str, Any], sampler: str
) -> None:
    file = only_sgd(tiny, sampler, 32, {"low": 0.01, "high": 0.1, "log": True})
    with opened(storage, file) as controller:
        before = tune(controller)
        ledger, study, spec = controller._ledger, controller._registered, controller.spec
        trials = ledger.trials(study.id, phase=Phase.TUNE)
        extend_space(study, 40)
        after = tune(controller)
        assert ledger.trials(study.id, phase=Phase.TUNE)[:32] == trials
        assert max(before) <= 0.1 < max(after) <= 1.0
        assert len(after) == 40
        (event,) = ledger.events(study.id, "extended")
        assert event.data["spaces"]["sgd"] == {
            "first": 32,
            "space": {
                **spec.arm("sgd").space,
                "gamma0": {"low": 0.01, "high": 1.0, "log": True},
            },
        }
        history = SpaceHistory(study)
        assert history.of("sgd", 31) == spec.space("sgd") != history.of("sgd", 32)
        # The edges are now those of the wider space.
        (result,) = rank(ledger, study.record)
        assert all(edge.high == 1.0 for edge in result.edges)
        assert step_size_ranges(study) == {"sgd": Range(0.01, 1.0, log=True)}
        ranges = exported_claims(study)["scope"]["spaces"]
        assert ranges == {"sgd": event.data["spaces"]["sgd"]["space"]}
        note = study_notes(ledger, study.record)["tiny/sgd"][1]
        assert "- `gamma0`: 0.01 to 1, on a log scale" in note
        assert len(ledger.events(study.id, "frozen")) == 2


def test_a_grid_gets_its_new_cells_alone(storage: str, tiny: dict[str, Any]) -> None:
    file = only_sgd(tiny, "grid", 4, {"grid": [0.01, 0.1]})
    file["arms"][0]["space"]["decay_power"] = {"choices": [0.0, 0.5]}
    with opened(storage, file) as controller:
        assert sorted(tune(controller)) == [0.01, 0.01, 0.1, 0.1]
        study = controller._registered
        extend_space(study, None)
        assert sorted(tune(controller)) == [1.0, 1.0, 10.0, 10.0]
        with pytest.raises(InputError, match="--extend 3 cannot be given with --extend-space"):
            extend_space(study, 3)
        extend_space(study, None)
        assert sorted(tune(controller)) == [100.0, 100.0, 1000.0, 1000.0]
        rebuild(study, controller._projection, lambda _: True)
    rdb = optuna.storages.RDBStorage(storage)
    told = optuna.load_study(study_name="tiny/sgd", storage=rdb).trials
    rdb.remove_session()
    rdb.engine.dispose()
    assert sorted({trial.params["gamma0"] for trial in told}) == [
        *(0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
    ]


def test_only_a_finished_search_with_a_winner_at_an_end_is_extended(
    storage: str, tiny: dict[str, Any]
) -> None:
    file = only_sgd(tiny, "grid", 3, {"grid": [0.01, 0.1, 0.2]})
    with opened(storage, file) as controller:
        study = controller._registered
        with pytest.raises(InputError, match="tune phase of study 'tiny' is not finished"):
            extend_space(study, None)
        while (assignment := controller.claim(PROVENANCE)) is not None:
            train(controller, assignment, abs(assignment.assignment.config["gamma0"] - 0.1) + 0.1)
        with pytest.raises(InputError, match="no winner of study 'tiny' is at an end"):
            extend_space(study, None)
