"""Every arm is searched several times, its training played: seeds, winners, half budgets."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
import pytest

from indian_tune.dashboard.notes import study_notes
from indian_tune.errors import StudyFileError
from indian_tune.ledger import FROZEN, Phase, State
from indian_tune.ledger.frames import epoch_frame, run_frame, trial_frame
from indian_tune.planning.workload import workload
from indian_tune.study.completion import completion
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import rebuild
from indian_tune.study.ranking import rank
from indian_tune.study.registration import extend
from indian_tune.study.registration_check import departures
from tests.study.playing import played

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.study.assignment import RunningTrial
    from tests.study.playing import Played

CONTROL = {"name": "control", "optimizer": "sgd", "response_of": "indian"}
SEARCHES = ("indian/r0", "indian/r1", "sgd/r0", "sgd/r1")


@pytest.fixture
def storage(usual_database: str) -> str:
    """Every test here runs on both databases, those of the file alone on none."""
    return usual_database


@pytest.fixture
def twice(tiny: dict[str, Any]) -> dict[str, Any]:
    """The tiny study, every arm searched twice, four trials each, with half winners."""
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "confirm_seeds": 2}
    tiny["search"] |= {"replicates": 2, "trials": 4}
    tiny["claims"] = {"half_budget": True}
    return tiny


def error_by(best: Mapping[tuple[str, int], int]) -> Any:
    """Return what trials of an index score best, by arm and replicate."""

    def error(trial: RunningTrial) -> float:
        record = trial.lease.trial
        if record.phase is Phase.TUNE:
            top = best[trial.assignment.arm.name, record.replicate]
            return 0.1 + 0.02 * abs(record.index - top)
        return 0.15 + 0.01 * record.index

    return error


# In one search of either arm the first half has the winner.
BEST = {("indian", 0): 1, ("indian", 1): 3, ("sgd", 0): 2, ("sgd", 1): 0}


def configs(study: Played, arm: str, replicate: int) -> list[Any]:
    trials = study.trials(arm, Phase.TUNE)
    return [trial.config for trial in trials if trial.replicate == replicate]


def seeds(study: Played, arm: str, phase: Phase) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for trial in study.trials(arm, phase):
        runs = study.ledger.runs(trial.id)
        found.setdefault(trial.replicate, set()).update(run.seed for run in runs)
    return found


def test_every_search_has_its_own_seeds_and_winner(storage: str, twice: dict[str, Any]) -> None:
    twice["protocol"]["tune_seeds"] = 2
    with played(storage, twice, error_by(BEST)) as study:
        assert study.ledger.count_trials(study.study.id) == 2 * 2 * 4
        paths = study.work()
        assert paths[:3] == ["indian/r0/0", "sgd/r0/0", "indian/r0/1"]
        assert study.controller.done
        # Tune and fresh seeds are those of the replicate, the same for all arms.
        for phase in (Phase.TUNE, Phase.CONFIRM):
            assert seeds(study, "indian", phase) == seeds(study, "sgd", phase)
        assert seeds(study, "sgd", Phase.TUNE) == {0: {0, 1}, 1: {2, 3}}
        fresh = seeds(study, "sgd", Phase.CONFIRM)
        assert not fresh[0] & fresh[1]
        assert [len(each) for each in fresh.values()] == [2, 2]
        (frozen,) = study.ledger.events(study.study.id, FROZEN)
        assert tuple(frozen.data["winners"]) == SEARCHES
        assert [frozen.data["winners"][name]["trial"] for name in SEARCHES] == [1, 3, 2, 0]
        assert set(frozen.data["seeds"]) == fresh[0] | fresh[1]
        drawn = [
            each["gamma0"]
            for arm in ("indian", "sgd")
            for r in (0, 1)
            for each in configs(study, arm, r)
        ]
        assert len(set(drawn)) == len(drawn)
        assert departures(study.study) == []
        first = {replicate: configs(study, "indian", replicate) for replicate in (0, 1)}
    alone = copy.deepcopy(twice) | {"name": "alone"}
    del alone["search"]["replicates"]
    with played(storage, alone, error_by(BEST)) as study:
        study.work()
        # The first search is the one of a study that has no other.
        assert configs(study, "indian", 0) == first[0] != first[1]


def test_the_winners_of_half_the_budget_are_confirmed_and_none_is_trained_twice(
    storage: str, twice: dict[str, Any]
) -> None:
    with played(storage, twice, error_by(BEST)) as study:
        paths = study.work()
        again = ["indian/r1/half/0", "indian/r1/half/1", "sgd/r0/half/0", "sgd/r0/half/1"]
        assert sorted(path for path in paths if "half" in path) == again
        assert max(map(paths.index, again)) < paths.index("indian/r0/confirm/0")
        (frozen,) = study.ledger.events(study.study.id, FROZEN)
        assert [frozen.data["halves"][name]["trial"] for name in SEARCHES] == [1, 1, 1, 0]
        assert seeds(study, "indian", Phase.HALF)[1] == seeds(study, "indian", Phase.CONFIRM)[1]
        whole = epoch_frame(study.ledger, study.study.id)
        half = epoch_frame(study.ledger, study.study.id, Phase.HALF)
        confirm = epoch_frame(study.ledger, study.study.id, Phase.CONFIRM)
        keys = ["arm", "replicate", "seed"]
        assert set(half[keys].itertuples(index=False)) == set(confirm[keys].itertuples(index=False))
        assert whole["phase"].value_counts()["half"] == len(half) == 2 * 2 * 2
        # A search won by its first half shows the same runs, under both phases.
        same = half[(half["arm"] == "sgd") & (half["replicate"] == 1)]
        there = confirm[(confirm["arm"] == "sgd") & (confirm["replicate"] == 1)]
        columns = [name for name in whole if name != "phase"]
        expected = there[columns].reset_index(drop=True)
        pd.testing.assert_frame_equal(same[columns].reset_index(drop=True), expected)
        other = half[(half["arm"] == "sgd") & (half["replicate"] == 0)]
        first = configs(study, "sgd", 0)[1]
        assert set(other["config.gamma0"]) == {first["gamma0"]}
        for frame in (run_frame, trial_frame):
            shown = frame(study.ledger, study.study.id)
            half = shown.query("arm == 'sgd' and phase == 'half'")
            assert half["replicate"].value_counts().to_dict() == {0: 2, 1: 2}
        assert sum(work.trials for work in workload(study.spec)) == 2 * 2 * (4 + 2 + 2)


def test_every_search_is_shown_in_an_optuna_study_of_its_own(
    storage: str, twice: dict[str, Any]
) -> None:
    with played(storage, twice, error_by(BEST)) as study:
        study.work()
        projection = Projection.beside(study.study)
        names = [f"tiny/{part}" for part in (*SEARCHES, "half", "confirm")]
        assert [projection.name_of(part) for part in projection.parts] == names
        # The record names every Optuna trial, so that what is lost is made again.
        before = {part: shown(projection, part) for part in projection.parts}
        assert [len(each) for each in before.values()] == [4, 4, 4, 4, 4, 8]
        projection.close()
        study.reconcile(rebuild)
        projection = Projection.beside(study.study)
        assert {part: shown(projection, part) for part in projection.parts} == before
        projection.close()
        notes = study_notes(study.ledger, study.study.record)
        assert set(notes) == set(names)
        assert "search 1 of 0 to 1" in notes["tiny/sgd/r1"][1]


def shown(projection: Projection, part: str) -> list[Any]:
    trials = projection.trials(part)
    return sorted((str(trial.params), trial.values) for trial in trials)


def test_a_sampler_and_a_pruner_see_their_own_search_alone(
    tmp_path: Any, twice: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice["protocol"] |= {"epochs": 2, "tune_epochs": 2}
    twice["search"] |= {"sampler": "tpe", "generation": 2, "pruner": "median"}
    seen: dict[str, set[int]] = {}

    def prune(_: Any, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        slots = {each.user_attrs["slot"] for each in study.get_trials(deepcopy=False)}
        seen.setdefault(study.study_name, set()).update(slots)
        return False

    monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", prune)
    with played(f"sqlite:///{tmp_path / 'study.db'}", twice, error_by(BEST)) as study:
        paths = study.work()
        # A generation waits for its own search only.
        assert paths.index("sgd/r0/3") < paths.index("indian/r1/0")
        for arm in ("indian", "sgd"):
            for replicate in (0, 1):
                own = {t.id for t in study.trials(arm, Phase.TUNE) if t.replicate == replicate}
                assert seen[f"tiny/{arm}/r{replicate}"] <= own


def test_an_extension_adds_to_every_search_and_leaves_no_former_half_winner(
    storage: str, twice: dict[str, Any]
) -> None:
    best = dict(BEST)
    with played(storage, twice, error_by(best)) as study:
        study.work()
        # Of 8 trials the first half has the winner of all, in every search but one.
        best["indian", 0] = 5
        extend(study.study, 4)
        study.work()
        assert study.ledger.count_trials(study.study.id, phase=Phase.TUNE) == 2 * 2 * 8
        frozen = study.ledger.events(study.study.id, FROZEN)[-1].data
        assert [frozen["halves"][name]["trial"] for name in SEARCHES] == [1, 3, 2, 0]
        assert [frozen["winners"][name]["trial"] for name in SEARCHES] == [1, 3, 2, 0]
        halves = study.ledger.halves(study.study.id)
        assert len(halves) == 2 * 2 * 2
        confirmed = {trial.id for trial in study.ledger.confirms(study.study.id)}
        assert {trial.id for trial in halves} == confirmed
        told = [f"arm {arm!r} had 16 trials, registered: 8" for arm in ("indian", "sgd")]
        assert departures(study.study) == told


def test_the_level_of_a_control_is_searched_for_every_search_of_its_source(
    storage: str, twice: dict[str, Any]
) -> None:
    del twice["claims"]
    twice["arms"].append(dict(CONTROL))
    level = {0: 0.5, 1: 2.0}

    def error(trial: RunningTrial) -> float:
        if trial.phase is not Phase.MATCH:
            return float(error_by(BEST)(trial))
        return (
            0.2 if trial.assignment.config["level"] == level[trial.lease.trial.replicate] else 0.3
        )

    with played(storage, twice, error) as study:
        study.work()
        levels = study.ledger.levels(study.study.id)
        assert {name: each["level"] for name, each in levels.items()} == {
            "control/r0": 0.5,
            "control/r1": 2.0,
        }
        matched = seeds(study, "control", Phase.MATCH)
        assert [len(each) for each in matched.values()] == [5, 5]
        assert not matched[0] & matched[1]
        assert {0} <= matched[0]
        assert {1} <= matched[1]
        frame = epoch_frame(study.ledger, study.study.id, Phase.CONFIRM)
        control = frame[frame["arm"] == "control"]
        assert dict(zip(control["replicate"], control["config.level"], strict=True)) == level
        (result,) = [r for r in rank(study.ledger, study.study.record) if r.name == "control"]
        assert {r: each["level"] for r, each in result.levels.items()} == level


def test_a_budget_is_what_each_search_may_spend(storage: str, twice: dict[str, Any]) -> None:
    del twice["claims"]
    twice["search"] |= {"budget": "epochs", "epochs": 3}
    with played(storage, twice, error_by(BEST)) as study:
        study.work()
        for arm in ("indian", "sgd"):
            trials = study.trials(arm, Phase.TUNE)
            assert [trial.replicate for trial in trials] == [0, 0, 0, 1, 1, 1]
        events = study.ledger.events(study.study.id, "budget spent")
        assert sorted((e.data["arm_id"], e.data["replicate"]) for e in events) == [
            (arm.id, replicate) for arm in study.arms.values() for replicate in (0, 1)
        ]


def test_arms_are_ranked_by_the_means_of_their_searches(
    storage: str, twice: dict[str, Any]
) -> None:
    with played(storage, twice, error_by(BEST)) as study:
        study.work()
        for result in rank(study.ledger, study.study.record):
            assert [search.replicate for search in result.searches] == [0, 1]
            assert [search.best_trial for search in result.searches] == [
                BEST[result.name, replicate] for replicate in (0, 1)
            ]
            assert result.value == pytest.approx(0.1)
            assert result.confirmed is not None
            assert (result.confirmed.runs, result.confirmed.validation_error_std) == (4, 0)


def test_a_failed_trial_is_named_with_its_search(storage: str, twice: dict[str, Any]) -> None:
    with played(storage, twice, error_by(BEST)) as study:
        while study.ledger.open_trials(study.study.id, Phase.TUNE):
            trial = study.claim()
            assert trial is not None
            if trial.path == "sgd/r1/2":
                study.controller.fail_attempt(trial, "ValueError: played")
            else:
                study.train(trial)
        assert study.claim() is None
        assert completion(study.ledger, study.study.record).failed == ("sgd/r1/2",)
        with played(storage, twice, error_by(BEST), anyway=True) as going_on:
            going_on.work()
        (frozen,) = study.ledger.events(study.study.id, FROZEN)
        assert frozen.data["passed_over"] == {"sgd/r1": [2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"replicates": 0}}, "search.replicates = 0 must be at least 1"),
        ({"search": {"replicates": 101}}, "search.replicates = 101 must be at most 100"),
        (
            {"protocol": {"confirm_seeds": [5, 6]}},
            "protocol.confirm_seeds = [5, 6] gives all searches the same fresh seeds, but with "
            "search.replicates = 2 every search needs different ones: give 2 lists, or a number",
        ),
        (
            {"protocol": {"confirm_seeds": [[5, 6], [7, 5]]}},
            "confirm_seeds = [[5, 6], [7, 5]] contains a seed twice",
        ),
        (
            {"protocol": {"confirm_seeds": [[5, 6], [7, 8], [9, 10]]}},
            "protocol.confirm_seeds has 3 lists of seeds, but search.replicates = 2: give 2",
        ),
        ({"protocol": {"confirm_seeds": [[5, 6], [7]]}}, "gives some searches more fresh seeds"),
        (
            {"protocol": {"confirm_seeds": [[5, 6], [7, 1]]}},
            "protocol.confirm_seeds contains the tune seeds [1]",
        ),
        (
            {"protocol": {"tune_seeds": [3]}},
            "protocol.tune_seeds = [3] gives all searches the same tune seeds, but with "
            "search.replicates = 2 every search needs different ones: give the number of seeds per",
        ),
        (
            {"search": {"sampler": "grid", "trials": 9}, "claims": {"half_budget": False}},
            "search.replicates = 2 would search the same grid 2 times on the same data: use "
            "problem.split = 'replicate', another sampler, or one replicate",
        ),
        ({"search": {"trials": 1}}, "needs searches with a first half"),
        ({"protocol": {"confirm_seeds": 0}}, "confirms winners on fresh seeds"),
    ],
)
def test_searches_that_would_share_what_each_needs_are_refused(
    changes: dict[str, Any], message: str, twice: dict[str, Any]
) -> None:
    for section, keys in changes.items():
        twice[section] = twice.get(section, {}) | keys
    if twice["search"]["sampler"] == "grid":
        twice["arms"] = [
            {"name": "sgd", "optimizer": "sgd", "space": {"gamma0": {"grid": [0.1, 0.2]}}}
        ]
        allowed = {**twice, "problem": {**twice["problem"], "split": "replicate"}}
        assert parse_study(allowed, source="study.toml").replicates == 2
    with pytest.raises(StudyFileError) as raised:
        parse_study(twice, source="study.toml")
    assert message in str(raised.value)


def test_fresh_seeds_that_are_listed_are_those_of_each_search(
    tmp_path: Any, twice: dict[str, Any]
) -> None:
    twice["protocol"]["confirm_seeds"] = [[5, 6], [8, 7]]
    with played(f"sqlite:///{tmp_path / 'study.db'}", twice, error_by(BEST)) as study:
        study.work()
        assert seeds(study, "sgd", Phase.CONFIRM) == {0: {5, 6}, 1: {7, 8}}
        assert {trial.state for trial in study.ledger.trials(study.study.id)} == {State.COMPLETE}


def test_one_search_is_registered_as_if_there_could_be_no_other(
    tmp_path: Any, tiny: dict[str, Any]
) -> None:
    tiny["search"] |= {"replicates": 1}
    tiny["problem"]["split"] = "study"
    tiny["claims"] = {"half_budget": False}
    spec = parse_study(tiny, source="study.toml")
    for section, key in (("search", "replicates"), ("problem", "split"), ("claims", "half_budget")):
        assert key not in spec.canonical()[section]
    database = f"sqlite:///{tmp_path / 'study.db'}"
    with played(database, tiny, lambda trial: 0.1 + 0.01 * trial.id) as study:
        assert study.work()[0] == "indian/0"
        (frozen,) = study.ledger.events(study.study.id, FROZEN)
        assert frozen.data.keys() == {"freezing", "winners", "seeds"}
        assert frozen.data["winners"].keys() == {"indian", "sgd"}
        assert "replicate" not in epoch_frame(study.ledger, study.study.id)
