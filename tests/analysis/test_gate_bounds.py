"""Where each gate draws its line, and the figures that it names: asked with few numbers by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from indian_tune.analysis import Label
from indian_tune.analysis.ends import Ends
from indian_tune.analysis.evidence import Evidence
from indian_tune.analysis.gates import (
    asked,
    assay,
    budget,
    control,
    edge,
    not_isolated,
    room,
    searches,
    settings,
    trains,
    tuned,
)
from indian_tune.analysis.levels import Levels
from indian_tune.analysis.simulation import simulated_claims
from indian_tune.analysis.verdict import Amount, Contrast
from indian_tune.study.file.space import Constant, Range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.verdict import Gate

# δ of the claims is half a point.
CLAIMS = simulated_claims()
MADE = Contrast(
    name="full - rate",
    arm="full",
    baseline="rate",
    test=Amount(0.02, 0.01, 0.03),
    train=None,
    gap=None,
    validation=None,
    deviation=0.001,
    unit="searches",
    n=2,
    searches=2,
    pairs=4,
    left_out=0,
    arm_failed=0,
    baseline_failed=0,
    empty=0,
    differences=(0.02, 0.02),
    label=Label.SUPPORTED,
)
SAME = (0.5, 0.5)
NONE = cast("Evidence", None)


def ends(
    test: tuple[float, float],
    *,
    train: float = 1.0,
    failed: Sequence[int] = (),
    half: tuple[float, float] | None = None,
) -> Ends:
    """Return two searches of two seeds by the test accuracies of the searches.

    Args:
        test: of the searches; without a spread between them nothing is known of an effect.
        train: accuracy of every run.
        failed: which of the four runs failed.
        half: the test accuracies of the winners of half the budget.
    """
    values = np.repeat(np.array(test, dtype=float)[:, None], 2, axis=1)
    lost = np.isin(np.arange(4), failed).reshape(2, 2)
    own = None if half is None else ends(half)
    return Ends(values, np.full((2, 2), train), values, lost, half=own)


def evidence(**changes: Any) -> Evidence:
    same = ends(SAME)
    arms = {"full": same, "rate": same, "sgd": same, **changes.pop("arms", {})}
    return Evidence(claims=CLAIMS, arms=arms, **changes)


def only(gates: Any) -> Gate:
    (gate,) = gates
    return cast("Gate", gate)


@pytest.mark.parametrize(("count", "passed"), [(4, False), (5, True), (6, True)])
def test_five_searches_of_every_arm_are_needed(count: int, passed: bool) -> None:
    gate = only(searches(NONE, replace(MADE, searches=count)))
    assert (gate.passed, gate.figure) == (
        passed,
        f"{count} searches of every arm (needed: at least 5)",
    )
    least = "5 are the least that can decide, 10 are more likely to"
    assert gate.advice == f"set search.replicates = 10 ({least})"


def test_it_is_said_how_many_runs_of_either_arm_trained() -> None:
    gate = only(trains(NONE, replace(MADE, pairs=10, arm_failed=1, baseline_failed=3)))
    assert gate.figure == "full trains in 9 of 10 runs, rate in 7"


@pytest.mark.parametrize(
    ("lost", "won", "p", "passed"), [((0, 1, 2), (), "0.12", True), ((0, 1), (3,), "0.5", True)]
)
def test_runs_that_failed_alone_are_counted(
    lost: tuple[int, ...], won: tuple[int, ...], p: str, passed: bool
) -> None:
    arms = {"full": ends(SAME, failed=lost), "rate": ends(SAME, failed=won)}
    known = evidence(arms=arms)
    _, gate = trains(known, replace(MADE, arm_failed=len(lost), baseline_failed=len(won)))
    assert gate.passed is passed
    counts = f"only full failed in {len(lost)} pairs, only rate in {len(won)}"
    assert gate.figure == f"{counts}: p = {p} in a sign test at level 0.0125"
    assert gate.stops == (Label.SUPPORTED,)
    # As many failures on either side are no ground to ask.
    equal = replace(MADE, arm_failed=2, baseline_failed=2)
    assert [gate.name for gate in trains(known, equal)] == ["trains"]


@pytest.mark.parametrize(
    ("low", "estimate", "high", "labels"),
    [
        (0.001, 0.01, 0.02, [Label.SUPPORTED]),
        (0.0, 0.004, 0.0049, [Label.REFUTED]),
        (0.001, 0.002, 0.0049, [Label.SUPPORTED, Label.REFUTED]),
        (0.0, 0.0026, 0.005, [Label.SUPPORTED]),
        (0.0, 0.0025, 0.005, [Label.REFUTED]),
        (-0.01, -0.001, 0.02, [Label.REFUTED]),
    ],
)
def test_a_contrast_is_asked_what_it_may_come_to(
    low: float, estimate: float, high: float, labels: list[Label]
) -> None:
    made = replace(MADE, test=Amount(estimate, low, high))
    assert asked(evidence(), made) == labels
    assert asked(evidence(joins=True), made) == [Label.SUPPORTED, Label.REFUTED]


@pytest.mark.parametrize(
    ("train", "failed", "passed", "figure"),
    [
        (0.01, (), True, "sgd is 1.00 points better on its training examples than on the test "),
        (0.0099, (), False, "sgd is 0.99 points better on its training examples than on the test "),
        (float("nan"), (), False, "the training accuracy of sgd is not known"),
        (0.01, (0, 1, 2, 3), False, "the training accuracy of sgd is not known"),
    ],
)
def test_twice_the_smallest_effect_must_be_there_to_be_closed(
    train: float, failed: tuple[int, ...], passed: bool, figure: str
) -> None:
    known = evidence(arms={"sgd": ends((0.0, 0.0), train=train, failed=failed)})
    gate = only(room(known, MADE))
    assert gate.passed is passed
    assert gate.figure.startswith(figure)
    assert gate.figure.endswith(("examples (needed: at least 1)", "is not known"))


@pytest.mark.parametrize(("failed", "count"), [((), 2), ((0,), 2), ((0, 1), 1)])
def test_searches_in_which_the_control_trains_are_counted(
    failed: tuple[int, ...], count: int
) -> None:
    made = replace(MADE, baseline="control", needs_gap=True)
    known = evidence(arms={"control": ends(SAME, failed=failed)})
    gate = only(control(known, made))
    figure = f"control trains at some level in {count} of 2 searches"
    assert (gate.passed, gate.figure) == (count == 2, figure)
    assert list(control(known, MADE)) == []


@pytest.mark.parametrize(
    ("places", "passed", "figure"),
    [
        ([0.1, 0.9], True, "no winner of rate is at an end of a range"),
        ([0.05, 0.5], True, "1 of 2 winners of rate at the lower end of gamma0"),
        ([0.95, 0.91, 0.5], False, "2 of 3 winners of rate at the upper end of gamma0"),
        ([0.05, 0.95], True, "1 of 2 winners of rate at the lower end of gamma0"),
    ],
)
def test_most_winners_at_one_end_of_a_range_are_an_edge(
    places: list[float], passed: bool, figure: str
) -> None:
    gate = only(edge(evidence(winners={"rate": {"gamma0": places}}), MADE))
    assert (gate.passed, gate.figure) == (passed, figure)
    assert gate.stops == (Label.SUPPORTED,)


def test_levels_count_as_winners_only_of_the_control_whose_gap_is_asked_for() -> None:
    levels = {"rate": Levels((4.0, 4.0), (True, True))}
    known = evidence(winners={"rate": {"gamma0": [0.5, 0.5]}}, levels=levels)
    assert only(edge(known, MADE)).passed
    gate = only(edge(known, replace(MADE, needs_gap=True)))
    assert (gate.passed, "the levels m, ¼ to 4" in gate.figure) == (False, True)


@pytest.mark.parametrize(
    ("gain", "passed"),
    [((0.0059, 0.0061), True), ((0.0039, 0.0041), False), ((0.0, 0.012), False)],
)
def test_the_usual_means_must_gain_the_smallest_effect_for_sure(
    gain: tuple[float, float], passed: bool
) -> None:
    usual = ends((0.5 + gain[0], 0.5 + gain[1]))
    gate = only(assay(evidence(arms={"sgd-usual": usual}), MADE))
    assert gate.passed is passed
    # Only of a gain that is too small does a smaller δ help.
    assert gate.advice.startswith("register a smaller δ") is (sum(gain) / 2 < 0.005)
    assert only(assay(evidence(), MADE)).figure.startswith("no arm of SGD with dropout")


def test_the_usual_means_must_gain_over_the_same_ranges() -> None:
    arms = {"sgd-usual": ends((0.56, 0.561))}
    plain = {"gamma0": Range(0.01, 1.0, log=True)}
    usual = {"dropout": Range(0.0, 0.5), **plain}
    given = evidence(arms=arms, spaces={"sgd": plain, "sgd-usual": usual})
    assert only(assay(given, MADE)).passed
    wider = {**usual, "gamma0": Range(0.01, 2.0, log=True)}
    gate = only(assay(evidence(arms=arms, spaces={"sgd": plain, "sgd-usual": wider}), MADE))
    assert (gate.passed, "their ranges of gamma0 differ" in gate.figure) == (False, True)


def test_arms_that_differ_in_what_regularizes_decide_nothing() -> None:
    plain = {"gamma0": Range(0.01, 1.0, log=True)}
    decayed = {"gamma0": Range(0.1, 2.0, log=True), "weight_decay": Constant(0.04)}
    given = evidence(spaces={"full": decayed, "rate": plain})
    gate = only(settings(given, MADE))
    assert (gate.passed, "differ in weight_decay" in gate.figure) == (False, True)
    assert gate.stops == (Label.SUPPORTED, Label.REFUTED)
    assert not list(settings(given, replace(MADE, needs_gap=True)))
    same = evidence(spaces={"full": decayed, "rate": {**decayed, **plain}})
    assert not list(settings(same, MADE))
    assert not list(settings(evidence(), MADE))


@pytest.mark.parametrize(("behind", "passed"), [(0.0, True), (-0.01, True), (0.01, False)])
def test_an_arm_may_not_be_shown_behind_one_that_its_space_contains(
    behind: float, passed: bool
) -> None:
    known = evidence(arms={"rate": ends((0.4999 + behind, 0.5001 + behind))})
    gate = only(tuned(known, replace(MADE, contains=("rate",))))
    assert gate.passed is passed
    assert list(tuned(known, MADE)) == []


@pytest.mark.parametrize(
    ("half", "failed", "passed", "figure"),
    [
        # Δ is 2 points. With 2 searches its lower bound is 6.3 times the spread of ±0.01 lower.
        (
            0.481,
            (),
            True,
            "rate gained +1.90 points from the last doubling of its budget (+1.89 to ",
        ),
        (0.4805, (), False, "of its budget (+1.94 to +1.96 between searches); if another doubling"),
        (0.481, (0,), False, "is not known in 1 of 4 pairs"),
    ],
)
def test_support_must_outlive_another_doubling_of_the_budget(
    half: float, failed: tuple[int, ...], passed: bool, figure: str
) -> None:
    rate = ends(SAME, half=(half - 0.0001, half + 0.0001))
    assert rate.half is not None
    rate = replace(rate, half=replace(rate.half, failed=ends(SAME, failed=failed).failed))
    known = evidence(arms={"full": ends((0.52, 0.52)), "rate": rate})
    gate = only(budget(known, MADE))
    assert (gate.passed, gate.stops) == (passed, (Label.SUPPORTED,))
    assert figure in gate.figure


@pytest.mark.parametrize("failed", [None, (0,)])
def test_a_budget_that_is_not_known_of_one_side_is_still_asked_of_the_other(
    failed: tuple[int, ...] | None,
) -> None:
    full, rate = ends((0.50049, 0.50051), half=SAME), ends(SAME)
    if failed is not None:
        rate = replace(rate, half=ends(SAME, failed=failed))
    gates = list(budget(evidence(arms={"full": full, "rate": rate}, joins=True), MADE))
    assert [gate.stops for gate in gates] == [(Label.SUPPORTED,), (Label.REFUTED,)]
    assert [gate.passed for gate in gates] == [False, True]
    assert ("were not run on fresh seeds" if failed is None else "is not known in 1 of 4") in gates[
        0
    ].figure
    assert gates[1].figure.startswith("full gained +0.05 points")


def test_a_control_that_trains_nowhere_is_no_passed_gate() -> None:
    assert CLAIMS.h2 is not None
    gate = only(not_isolated(CLAIMS.h2, "control").gates)
    assert (gate.passed, gate.stops) == (False, (Label.SUPPORTED, Label.REFUTED))
