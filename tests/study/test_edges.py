from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import InputError
from indian_tune.ledger import Phase, command_line
from indian_tune.outcome import Outcome
from indian_tune.service.python import Results
from indian_tune.service.ranking import edge_notes, failure_notes, odd_ends
from indian_tune.service.study_status import look
from indian_tune.study import check_finished, rank
from indian_tune.study.edges import Edge, find_edges
from indian_tune.study.file.space import Choices, Constant, Grid, Parameter, Range
from tests.study.playing import played

if TYPE_CHECKING:
    from indian_tune.study.assignment import RunningTrial

LOG = Range(0.01, 1.0, log=True)


@pytest.mark.parametrize(
    ("value", "tried_next"),
    [(0.0125, (0.001, 1.0)), (0.013, None), (0.1, None), (0.79, None), (0.8, (0.01, 10.0))],
)
def test_the_last_twentieth_of_a_log_range_is_its_end(
    value: float, tried_next: tuple[float, float] | None
) -> None:
    edges = find_edges("sgd", {"gamma0": LOG}, {"gamma0": value})
    assert [(edge.next_low, edge.next_high) for edge in edges] == (
        [] if tried_next is None else [pytest.approx(tried_next)]
    )


def test_a_linear_range_is_extended_by_its_width() -> None:
    edges = find_edges("adam", {"beta1": Range(0.6, 0.8)}, {"beta1": 0.605})
    assert [(edge.name, edge.value, edge.low, edge.high) for edge in edges] == [
        ("beta1", 0.605, 0.6, 0.8)
    ]
    assert (edges[0].next_low, edges[0].next_high) == pytest.approx((0.4, 0.8))
    assert edges[0].scale == "linear"
    assert [edge.scale for edge in find_edges("sgd", {"gamma0": LOG}, {"gamma0": 1.0})] == ["log"]


def test_an_end_beyond_which_there_is_nothing_is_none() -> None:
    space = {"beta1": Range(0.8, 0.99), "weight_decay": Range(0.0, 0.1)}
    assert find_edges("adamw", space, {"beta1": 0.989, "weight_decay": 0.0}) == []


def test_only_the_outermost_points_of_a_grid_are_ends() -> None:
    space = {"alpha": Grid((0.1, 0.101, 0.5))}
    (low,) = find_edges("indian", space, {"alpha": 0.1})
    assert (low.next_low, low.scale) == (0.01, "grid")
    assert find_edges("indian", space, {"alpha": 0.101}) == []
    assert [edge.next_high for edge in find_edges("indian", space, {"alpha": 0.5})] == [5.0]


def test_what_has_no_order_has_no_end() -> None:
    space: dict[str, Parameter] = {
        "alpha": Constant(0.5),
        "beta": Choices((0.1, 1.0)),
        "dropout": Range(0.0, 0.5),
    }
    assert find_edges("indian", space, {"alpha": 0.5, "beta": 0.1, "dropout": 0.0}) == []


def test_a_winner_that_did_not_train_is_at_no_end(storage: str, tiny: dict[str, Any]) -> None:
    # Of ten classes the error at chance level is 0.9.
    errors = {"indian": 0.3, "sgd": 0.85}
    with played(storage, tiny, lambda trial: errors[trial.assignment.arm.name]) as study:
        study.work()
        edge = Edge("gamma0", 1.0, 0.1, 1.0, 0.1, 10.0, "log")
        ranked = [replace(each, edges=[edge]) for each in rank(study.ledger, study.study.record)]
    assert [(each.name, each.trained) for each in ranked] == [("indian", True), ("sgd", False)]
    untrained, at_end = edge_notes(ranked)
    assert untrained.startswith("sgd: nothing trained")
    assert at_end.startswith(
        "indian: γ0 = 1 is in the last twentieth of its range [0.1, 1] on a log scale, so better"
    )
    assert at_end.endswith(
        "try [0.1, 10] with search --extend-space (in Python, extend_space=True)"
    )
    low, grid = (replace(edge, next_low=0.01, next_high=1.0, scale=s) for s in ("linear", "grid"))
    assert (low.place, grid.place) == (
        "in the first twentieth of its range",
        "at an end of its grid",
    )
    assert edge_notes(ranked[:1]) == [at_end]


def test_an_arm_of_which_all_trials_diverged_is_named_with_what_to_do(
    storage: str, tiny: dict[str, Any]
) -> None:
    # A run on a fresh seed ends at chance, and one diverges.
    fresh = iter([0.3, 0.85, math.nan, 0.3])
    tiny["protocol"] |= {"confirm_seeds": 4}

    def error(trial: RunningTrial) -> float:
        if trial.assignment.arm.name == "indian":
            return math.nan
        return next(fresh) if trial.phase is Phase.CONFIRM else 0.3

    with played(storage, tiny, error) as study:
        study.work()
        ranked = rank(study.ledger, study.study.record)
        shown = look(study.ledger, study.study.record)
        seeds = [run.seed for run in study.ledger.study_runs(study.study.id, Phase.CONFIRM)]
    diverged, untrained = sorted(failure_notes(ranked, "tiny"))
    assert diverged == (
        "indian: no winner, as all of its trials diverged: run a study with smaller step sizes, or "
        "with a metric that is finite"
    )
    assert untrained == (
        f"sgd: 2 of 4 runs on fresh seeds did not train (seeds {seeds[1]}, {seeds[2]}): see "
        "indian-tune show tiny sgd/confirm/1"
    )
    assert diverged in " ".join(str(shown).split())
    assert sorted(failure_notes(ranked, "tiny", "own.db"))[1].endswith("confirm/1 --storage own.db")
    reward = Outcome("reward", "reward", "reward", greater_is_better=True, best=10.0, chance=0.31)
    (*_, doubt) = failure_notes(ranked, "tiny", outcome=reward)
    assert doubt.startswith("best = 10 may be out of reach: the best result is reward 9.7, 3.2 %")
    near = failure_notes(ranked, "tiny", outcome=replace(reward, chance=0.4))
    assert near == failure_notes(ranked, "tiny")
    assert [odd_ends(each) for each in ranked] == [
        "of 4 trials on fresh seeds, 1 diverged",
        "of 2 tuning trials, 2 diverged",
    ]
    results = Results("tiny", storage)
    with pytest.raises(InputError, match="'indian' of study 'tiny' has no winner, as all of its"):
        results.best("indian")


def test_a_study_of_which_all_trials_diverged_has_rather_a_fault_than_large_step_sizes(
    storage: str, tiny: dict[str, Any]
) -> None:
    with played(storage, tiny, lambda _: math.nan) as study:
        study.work()
        ranked = rank(study.ledger, study.study.record)
        with pytest.raises(InputError) as unconfirmed:
            check_finished(study.ledger, study.study.record)
        show = command_line(study.ledger.address, "show", "tiny")
    fault = "first look for a fault in the data, the loss or the network; if there is none, run a"
    (note,) = failure_notes(ranked, "tiny")
    assert note.startswith(f"no arm has a winner, as all trials of all arms diverged: {fault}")
    with pytest.raises(InputError, match=f"'sgd' of study 'tiny' has no winner, as all.*: {fault}"):
        Results("tiny", storage).best("sgd")
    assert "First look for a fault in the data" in str(unconfirmed.value)
    assert str(unconfirmed.value).splitlines()[1] == f"  {show}"
    assert " --storage " in show
