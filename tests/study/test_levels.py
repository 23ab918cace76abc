"""The phase in which the levels of response-matched controls are searched, its training played."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import optuna
import pytest

from indian_tune.dashboard.notes import study_notes
from indian_tune.errors import StudyFileError
from indian_tune.ledger import FROZEN, LEVELS, Ledger, Phase, State
from indian_tune.ledger.frames import epoch_frame
from indian_tune.optim import FAMILIES
from indian_tune.planning.workload import workload
from indian_tune.study.completion import completion
from indian_tune.study.file.spec import parse_study
from indian_tune.study.freeze import freeze
from indian_tune.study.levels import Tried, best_level, control_of, freeze_levels
from indian_tune.study.optuna.parts import CONFIRM
from indian_tune.study.optuna.reconcile import Repairs, rebuild
from indian_tune.study.ranking import rank
from indian_tune.study.registration import extend
from indian_tune.study.registration_check import departures
from tests.study.playing import played

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.study.assignment import RunningTrial
    from tests.study.playing import Played

CONTROL = {"name": "control", "optimizer": "sgd", "response_of": "indian"}
SEEDS = 5
# Errors of a network that knows nothing of ten classes are 0.9.
NOT_TRAINED = 0.75


@pytest.fixture
def storage(usual_database: str) -> str:
    """Every test here runs on both databases."""
    return usual_database


@pytest.fixture
def controlled(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny study with a control whose source has one value of everything but γ0."""
    space = {"alpha": 0.5, "beta": 0.1, "weight_decay": 0.01, "dropout": 0.25}
    tiny["arms"][0]["space"] = {**space, "gamma0": {"low": 0.05, "high": 0.2, "log": True}}
    tiny["arms"].append(dict(CONTROL))
    return tiny


def level_of(assignment: RunningTrial) -> float | None:
    return assignment.assignment.config.get("level")


def best_at(level: float) -> Callable[[RunningTrial], float]:
    """Return what errors are when a level is best, and the first tune trial of an arm."""

    def error(assignment: RunningTrial) -> float:
        if assignment.lease.trial.phase is Phase.MATCH:
            return 0.1 + 0.1 * abs(math.log(assignment.assignment.config["level"] / level))
        return 0.1 * (1 + assignment.lease.trial.index)

    return error


def test_levels_are_searched_after_the_winners_are_frozen_and_before_the_control_is_confirmed(
    storage: str, controlled: dict[str, Any]
) -> None:
    with played(storage, controlled, best_at(2.0)) as study:
        paths = study.work()
        assert paths == [
            *("indian/0", "sgd/0", "indian/1", "sgd/1"),
            *(f"control/match/{n}" for n in range(5)),
            *("indian/confirm/0", "sgd/confirm/0", "control/confirm/0"),
            *("indian/confirm/1", "sgd/confirm/1", "control/confirm/1"),
        ]
        assert study.controller.done
        source = study.trials("indian", Phase.TUNE)[0].config
        assert source is not None
        matches = study.trials("control", Phase.MATCH)
        same = dict(source)
        assert same.keys() == {"alpha", "beta", "gamma0", "weight_decay", "dropout"}
        assert [trial.config for trial in matches] == [
            {**same, "level": level} for level in (0.25, 0.5, 1.0, 2.0, 4.0)
        ]
        assert all(
            [run.seed for run in study.ledger.runs(trial.id)] == [0, 1, 2, 3, 4]
            for trial in matches
        )
        (frozen,) = study.ledger.events(study.study.id, FROZEN)
        (levels,) = study.ledger.events(study.study.id, LEVELS)
        assert frozen.data["winners"].keys() == {"indian", "sgd"}
        assert levels.data["freezing"] == 1
        chosen = levels.data["levels"]["control"]
        assert (chosen["level"], chosen["config"]["level"], chosen["reason"]) == (2.0, 2.0, None)
        assert [(each["level"], each["runs"], each["failed"]) for each in chosen["tried"]] == [
            (level, SEEDS, 0) for level in (0.25, 0.5, 1.0, 2.0, 4.0)
        ]
        confirms = study.trials("control", Phase.CONFIRM)
        assert [trial.config for trial in confirms] == [{**same, "level": 2.0}] * 2
        frame = epoch_frame(study.ledger, study.study.id, Phase.CONFIRM)
        assert set(frame[frame["arm"] == "control"]["config.level"]) == {2.0}


def test_a_level_whose_trial_ends_while_another_worker_chooses_is_not_missed(
    storage: str, controlled: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last level is the best one.
    with played(storage, controlled, best_at(4.0), until=Phase.MATCH) as study:
        while (last := study.claim()) is not None:
            if study.ledger.open_trials(study.study.id, Phase.MATCH) == 1:
                break
            study.train(last)
        assert last is not None
        assert level_of(last) == 4.0
        record = Ledger.freeze_levels

        def late(*args: Any, **named: Any) -> bool:
            study.train(last)
            return record(*args, **named)

        monkeypatch.setattr(Ledger, "freeze_levels", late)
        assert not freeze_levels(study.study)
        monkeypatch.undo()
        study.train(last)
        assert freeze_levels(study.study)
        (levels,) = study.ledger.events(study.study.id, LEVELS)
        assert levels.data["levels"]["control"]["level"] == 4.0


def test_a_match_trial_is_shown_beside_others_of_its_arm_and_not_among_the_winners(
    storage: str, controlled: dict[str, Any]
) -> None:
    controlled["protocol"]["objectives"] = ["validation_error", "seconds"]
    with played(storage, controlled, best_at(1.0)) as study:
        study.work()
        # Every worker is taken for dead here; nothing else is found.
        assert study.reconcile() == Repairs(lost=1)
        study.reconcile(rebuild)
        assert not study.reconcile()
        matches = study.trials("control", Phase.MATCH)
        _, note = study_notes(study.ledger, study.study.record)["tiny/control"]
        assert "the level of control" in note
        assert "5 of 5 trials finished" in note
        rdb = optuna.storages.RDBStorage(storage)
        shown = optuna.load_study(study_name="tiny/control", storage=rdb).trials
        winners = optuna.load_study(study_name=f"tiny/{CONFIRM}", storage=rdb).trials
        rdb.remove_session()
        rdb.engine.dispose()
    assert [trial.params for trial in shown] == [
        {"level": level} for level in (0.25, 0.5, 1.0, 2.0, 4.0)
    ]
    assert [trial.user_attrs["slot"] for trial in shown] == [trial.id for trial in matches]
    assert [trial.value for trial in shown] == [trial.value for trial in matches]
    assert {trial.params["arm"] for trial in winners} == {"indian", "sgd", "control"}
    assert len(winners) == 6


@pytest.mark.parametrize("reports_training", [True, False])
def test_a_level_at_which_a_run_fails_is_out(
    reports_training: bool, storage: str, controlled: dict[str, Any]
) -> None:
    errors = {0.25: 0.5, 0.5: 0.4, 1.0: 0.3, 2.0: NOT_TRAINED, 4.0: math.nan}

    def error(assignment: RunningTrial) -> float:
        return errors.get(level_of(assignment) or 0.0, 0.2)

    with played(storage, controlled, error, reports_training=reports_training) as study:
        study.work()
        chosen = study.ledger.levels(study.study.id)["control"]
        assert chosen["level"] == 1.0
        assert [each["failed"] for each in chosen["tried"]] == [0, 0, 0, 5, 5]
        assert study.trials("control", Phase.MATCH)[4].state is State.DIVERGED


def test_a_control_that_fails_at_every_level_is_recorded_as_not_isolated_and_the_study_ends(
    storage: str, controlled: dict[str, Any]
) -> None:
    def error(assignment: RunningTrial) -> float:
        return math.nan if assignment.lease.trial.phase is Phase.MATCH else 0.2

    with played(storage, controlled, error) as study:
        study.work()
        assert study.controller.done
        chosen = study.ledger.levels(study.study.id)["control"]
        assert (chosen["level"], chosen["config"]) == (None, None)
        assert chosen["reason"] == "a run failed at every level"
        assert study.trials("control", Phase.CONFIRM) == []
        assert completion(study.ledger, study.study.record).finished()
        (control,) = [
            each for each in rank(study.ledger, study.study.record) if each.name == "control"
        ]
        assert control.level == chosen
        assert control.config is None


def test_a_source_that_is_sgd_by_its_values_gets_its_control_at_level_1(
    storage: str, controlled: dict[str, Any]
) -> None:
    controlled["arms"][0]["space"] |= {"alpha": 0.3, "beta": 1 / 0.3}
    with played(storage, controlled, best_at(4.0)) as study:
        assert not any("match" in title for title in study.work())
        chosen = study.ledger.levels(study.study.id)["control"]
        assert (chosen["level"], chosen["tried"]) == (1.0, [])
        assert [trial.config for trial in study.trials("control", Phase.CONFIRM)] == [
            chosen["config"]
        ] * 2
    assert Phase.MATCH not in {work.phase for work in workload(study.spec)}


def test_a_source_without_a_winner_leaves_its_control_without_a_level(
    storage: str, controlled: dict[str, Any]
) -> None:
    def error(assignment: RunningTrial) -> float:
        return math.nan if assignment.assignment.arm.name == "indian" else 0.2

    with played(storage, controlled, error) as study:
        study.work()
        assert study.controller.done
        chosen = study.ledger.levels(study.study.id)["control"]
        assert (chosen["level"], chosen["reason"]) == (None, "arm 'indian' has no winner")


def test_nothing_after_the_levels_is_begun_when_the_match_phase_is_the_last_wanted(
    storage: str, controlled: dict[str, Any]
) -> None:
    with played(storage, controlled, best_at(2.0), until=Phase.MATCH) as study:
        assert study.work()[-1] == "control/match/4"
        assert study.controller.done
        now = completion(study.ledger, study.study.record)
        assert (now.finished(Phase.MATCH), now.finished(), now.left()) == (True, False, 6)
    with played(storage, controlled, best_at(2.0)) as study:
        assert len(study.work()) == 6


def test_a_study_is_not_finished_before_the_levels_are_frozen(
    storage: str, controlled: dict[str, Any]
) -> None:
    controlled["protocol"]["confirm_seeds"] = 0
    with played(storage, controlled, best_at(2.0), until=Phase.TUNE) as study:
        study.work()
        assert freeze(study.study)
        assert completion(study.ledger, study.study.record).left() == 5
    with played(storage, controlled, best_at(2.0)) as study:
        for _ in range(5):
            assignment = study.claim()
            assert assignment is not None
            study.train(assignment)
        assert completion(study.ledger, study.study.record).left() == 0
        assert not completion(study.ledger, study.study.record).finished()
        assert not study.controller.done
        assert study.claim() is None
        assert study.controller.done


def fail_attempt(study: Played, assignment: RunningTrial) -> None:
    while study.controller.fail_attempt(assignment, "ValueError: played") is not State.FAILED:
        again = study.claim()
        assert again is not None
        assignment = again


def test_no_worker_waits_for_levels_that_are_withheld(
    storage: str, controlled: dict[str, Any]
) -> None:
    with played(storage, controlled, best_at(1.0), until=Phase.MATCH) as study:
        while (assignment := study.claim()) is not None:
            if assignment.path == "control/match/4":
                fail_attempt(study, assignment)
            else:
                study.train(assignment)
        now = completion(study.ledger, study.study.record)
        assert (now.left(), now.stuck(Phase.MATCH), now.stuck()) == (4, True, False)
        assert study.controller.done


def test_a_match_trial_that_fails_withholds_the_level_until_it_is_tried_again_or_passed_over(
    storage: str, controlled: dict[str, Any]
) -> None:
    with played(storage, controlled, best_at(1.0)) as study:
        paths = []
        while (assignment := study.claim()) is not None:
            paths.append(assignment.path)
            if assignment.path == "control/match/2":
                fail_attempt(study, assignment)
            else:
                study.train(assignment)
        assert paths[-4:] == [f"{a}/confirm/{n}" for n in (0, 1) for a in ("indian", "sgd")]
        assert study.controller.done
        now = completion(study.ledger, study.study.record)
        assert now.withheld == "no level of a control is frozen"
        assert (now.stuck(), now.left()) == (True, 0)
        assert not now.finished()
    with played(storage, controlled, best_at(1.0), anyway=True) as study:
        assert study.work() == ["control/confirm/0", "control/confirm/1"]
        (event,) = study.ledger.events(study.study.id, LEVELS)
        assert event.data["passed_over"] == {"control": [2]}
        assert event.data["levels"]["control"]["level"] == 0.5
        assert departures(study.study) == [
            "the levels of controls were frozen although 1 match trial had failed"
        ]
        study.ledger.retry(study.study.id)
        assert not completion(study.ledger, study.study.record).finished()
    with played(storage, controlled, best_at(1.0)) as study:
        assert study.work() == [
            *("control/match/2", "control/confirm/2", "control/confirm/3"),
        ]
        assert study.ledger.levels(study.study.id)["control"]["level"] == 1.0


def test_an_extension_with_a_new_winner_searches_the_level_of_its_control_again(
    storage: str, controlled: dict[str, Any]
) -> None:
    errors = [0.2, 0.3, 0.3, 0.1]

    def error(assignment: RunningTrial) -> float:
        tuned = assignment.lease.trial.phase is Phase.TUNE
        return errors[assignment.lease.trial.index] if tuned else 0.2

    with played(storage, controlled, error) as study:
        study.work()
        before = study.ledger.levels(study.study.id)["control"]
        # The winner stays: so do the level, its trials and what was confirmed.
        extend(study.study, 1)
        assert not completion(study.ledger, study.study.record).finished()
        assert study.work() == ["indian/2", "sgd/2"]
        assert study.ledger.levels(study.study.id)["control"] == before
        extend(study.study, 1)
        paths = study.work()
        assert paths[2:7] == [f"control/match/{n}" for n in range(5, 10)]
        assert "control/confirm/2" in paths
        after = study.ledger.levels(study.study.id)["control"]
        assert after["config"]["gamma0"] != before["config"]["gamma0"]
        assert [each["trial"] for each in after["tried"]] == [5, 6, 7, 8, 9]
        current = study.ledger.matches(study.study.id)
        assert [trial.index for trial in current] == [5, 6, 7, 8, 9]
        frame = epoch_frame(study.ledger, study.study.id, Phase.MATCH)
        assert set(frame["trial"]) == {5, 6, 7, 8, 9}


def test_what_the_control_of_an_overtaken_winner_did_does_not_count_for_that_of_the_new_one(
    storage: str, controlled: dict[str, Any]
) -> None:
    errors = [0.2, 0.3, 0.1]

    def error(assignment: RunningTrial) -> float:
        trial = assignment.lease.trial
        if trial.phase is Phase.TUNE:
            return errors[trial.index]
        return math.nan if trial.phase is Phase.MATCH and trial.index >= 5 else 0.2

    with played(storage, controlled, error) as study:
        study.work()
        assert len(study.ledger.confirms(study.study.id, study.arms["control"].id)) == 2
        extend(study.study, 1)
        assert study.ledger.levels(study.study.id) == {}
        study.work()
        assert study.ledger.levels(study.study.id)["control"]["level"] is None
        assert study.ledger.confirms(study.study.id, study.arms["control"].id) == []
        (control,) = [
            each for each in rank(study.ledger, study.study.record) if each.name == "control"
        ]
        assert (control.config, control.confirm, control.confirmed) == (None, None, None)
        frame = epoch_frame(study.ledger, study.study.id, Phase.CONFIRM)
        assert set(frame["arm"]) == {"indian", "sgd"}


@pytest.mark.parametrize(
    ("optimizer", "config"),
    [
        ("indian", {"gamma0": 0.2}),
        ("indian-eta", {"eta": 0.3, "alpha": 0.4, "weight_decay": 0.1, "batch_size": 64}),
        ("indian-memory", {"eta": 0.3, "kappa": 0.4, "weight_decay": 0.1, "batch_size": 64}),
        ("indian", {"gamma0": 0.2, "alpha": 1.0, "initial_velocity": 0.5, "decay_power": 0.0}),
        ("indian", {"gamma0": 0.2, "weight_decay": 0.1, "decoupled_weight_decay": 0.0}),
    ],
)
def test_a_control_has_the_values_of_its_source_and_its_own_defaults_agree(
    optimizer: str, config: dict[str, float]
) -> None:
    control = control_of(optimizer, config)
    assert control.get("batch_size") == config.get("batch_size")
    control.pop("batch_size", None)
    own = {name: value for name, value in config.items() if name != "batch_size"}
    complete = FAMILIES["sgd-response"].complete(control)
    assert complete == {**FAMILIES[optimizer].complete(own), "level": 1.0}


@pytest.mark.parametrize(
    ("accuracies", "level"),
    [
        ((0.9, 0.9, 0.9, 0.9, 0.9), 1.0),
        ((0.9, 0.9, 0.8, 0.9, 0.9), 0.5),
        ((0.9, 0.8, 0.8, 0.8, 0.9), 0.25),
        ((0.1, 0.1, 0.1, 0.1, 0.2), 4.0),
        # Sums of equal numbers of right answers, rounded in another order.
        ((0.0, 0.0, 0.1 + 0.2, 0.3, 0.0), 1.0),
        ((0.0, 0.0, 0.3, 0.1 + 0.2, 0.0), 1.0),
    ],
)
def test_the_best_level_wins_and_of_equals_the_one_nearest_to_1(
    accuracies: tuple[float, ...], level: float
) -> None:
    levels = (0.25, 0.5, 1.0, 2.0, 4.0)
    tried = [Tried(n, m, a, 5, 0) for n, (m, a) in enumerate(zip(levels, accuracies, strict=True))]
    best = best_level(tried)
    assert best is not None
    assert best.level == level


def test_levels_are_compared_on_five_tune_seeds_none_of_them_fresh(tiny: dict[str, Any]) -> None:
    def seeds(**protocol: Any) -> tuple[int, ...]:
        tiny["protocol"] |= protocol
        return parse_study(tiny, source="study.toml").protocol.matching_seeds

    assert seeds() == (0, 1, 2, 3, 4)
    assert seeds(tune_seeds=8) == (0, 1, 2, 3, 4)
    assert seeds(tune_seeds=[7, 3], confirm_seeds=[1, 2]) == (7, 3, 0, 4, 5)


def test_a_plan_counts_the_match_phase(controlled: dict[str, Any]) -> None:
    controlled["protocol"] |= {"tune_epochs": 1}
    (work,) = [
        work
        for work in workload(parse_study(controlled, source="study.toml"))
        if work.phase is Phase.MATCH
    ]
    assert (work.arm, work.trials, work.seeds, work.epochs) == ("control", 5, 5, 1)


def test_a_study_without_such_a_control_has_the_canonical_form_it_had(
    tiny: dict[str, Any],
) -> None:
    spec = parse_study(tiny, source="study.toml")
    assert all("response_of" not in arm for arm in spec.canonical()["arms"])
    tiny["arms"].append(dict(CONTROL))
    again = parse_study(parse_study(tiny, source="a").canonical(), source="b")
    assert again.arm("control").response_of == "indian"
    assert again.digest == parse_study(tiny, source="a").digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"response_of": "indain"}, r"arms\[3\].response_of = 'indain' is not an arm.*'indian'"),
        ({"response_of": "control"}, r"response_of = 'control' is not an arm of this study"),
        (
            {"response_of": "sgd"},
            "response_of = 'sgd' must be an arm of indian or indian-eta or indian-memory",
        ),
        ({"optimizer": "adam"}, "with a searched level: write optimizer = 'sgd', and remove space"),
        ({"fixed": True}, "remove space and fixed"),
        ({"space": {"gamma0": 0.1}}, "remove space and fixed"),
        ({"space": {"level": {"choices": [1, 2]}}}, "remove space and fixed"),
        ({"matched_rate_of": "indian"}, "cannot be given with matched_rate_of = 'indian'"),
    ],
)
def test_a_control_that_cannot_be_is_refused(
    changes: dict[str, Any], message: str, tiny: dict[str, Any]
) -> None:
    tiny["arms"].append({**CONTROL, **changes})
    with pytest.raises(StudyFileError, match=message):
        parse_study(tiny, source="study.toml")


def test_a_control_is_refused_in_paper_mode_and_under_factors(tiny: dict[str, Any]) -> None:
    tiny["arms"].append(dict(CONTROL))
    crossed = {
        **tiny,
        "factors": [
            {"name": "dropout", "levels": {"off": {"dropout": 0.0}, "on": {"dropout": 0.5}}}
        ],
    }
    with pytest.raises(StudyFileError, match=r"response_of = 'indian' cannot be combined with"):
        parse_study(crossed, source="study.toml")
    tiny["protocol"] |= {"mode": "paper", "objective": "train_loss"}
    with pytest.raises(
        StudyFileError, match=r"response_of = 'indian' chooses its level on a validation"
    ):
        parse_study(tiny, source="study.toml")


def test_a_control_may_stay_beside_a_design(tiny: dict[str, Any]) -> None:
    arms: list[dict[str, Any]] = [
        {"name": "indian", "optimizer": "indian"},
        {"name": "c1", "optimizer": "sgd", "response_of": "indian-on", "crossed": False},
    ]
    levels = {"off": {"dropout": 0.0}, "on": {"dropout": 0.5}}
    factors = [{"name": "dropout", "levels": levels}]
    spec = parse_study({**tiny, "arms": arms, "factors": factors}, source="test")
    assert [arm.name for arm in spec.arms] == ["indian-off", "indian-on", "c1"]
    assert spec.matched_arms == ["c1"]
    arms[1]["crossed"] = "no"
    with pytest.raises(StudyFileError, match=r"arms\[2\].crossed = 'no' must be true or false"):
        parse_study({**tiny, "arms": arms, "factors": factors}, source="test")
