"""Several studies judged together, against numbers computed by other means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from indian_tune.analysis import Label
from indian_tune.analysis.combined import Combined, average_of, check_combined, combine, joint_rows
from indian_tune.analysis.report import render_combined
from indian_tune.analysis.simulation import WORLDS, direct, simulated_claims
from indian_tune.cli.combined import combined_lines
from indian_tune.errors import InputError
from indian_tune.study.claims import ClaimsSection
from tests.analysis.conftest import make_study

if TYPE_CHECKING:
    from indian_tune.analysis import Verdict
    from indian_tune.analysis.simulation import World

NULL = WORLDS[0]


def judged(world: World, name: str, searches: int, draw: int) -> Verdict:
    study = make_study(world, searches, draw)
    return study.judged(study.frame.assign(study=name), joins=True)


def together(*verdicts: Verdict) -> Combined:
    names = [verdict.study for verdict in verdicts]
    return combine(verdicts, dict.fromkeys(names, names))


@pytest.fixture(scope="module")
def two() -> tuple[Verdict, Verdict]:
    """Two studies in which tuning gains two points, of 5 and of 12 searches."""
    return judged(direct(0.02), "few", 5, 1), judged(direct(0.02), "many", 12, 2)


def test_two_samples_give_the_bounds_of_welch() -> None:
    """The mean of a and b is half of a - (-b), whose interval SciPy gives."""
    random = np.random.default_rng(0)
    a, b = random.normal(1, 1, 6), random.normal(2, 3, 9)
    errors = [stats.sem(a), stats.sem(b)]
    made, freedom = average_of([a.mean(), b.mean()], errors, [5, 8], 0.05, 0.0125)
    welch = stats.ttest_ind(a, -b, equal_var=False)
    assert freedom == pytest.approx(welch.df)
    assert 2 * made.low == pytest.approx(welch.confidence_interval(0.90).low)
    assert 2 * made.high == pytest.approx(welch.confidence_interval(0.975).high)


def test_the_average_and_the_smallest_bound_follow_from_the_units(
    two: tuple[Verdict, Verdict],
) -> None:
    made = together(*two)
    assert (made.on_all, made.on_average, made.exploratory) == (Label.SUPPORTED,) * 2 + ((),)
    for joint in made.joints:
        units = [
            np.array(contrast.differences)
            for verdict in two
            for contrast in verdict.finding(joint.hypothesis).contrasts
            if contrast.name == joint.name
        ]
        welch = stats.ttest_ind(units[0], -units[1], equal_var=False)
        assert joint.average.estimate == pytest.approx((units[0].mean() + units[1].mean()) / 2)
        assert 2 * joint.average.low == pytest.approx(welch.confidence_interval(0.90).low)
        assert 2 * joint.average.high == pytest.approx(welch.confidence_interval(0.975).high)
        lows = [stats.ttest_1samp(own, 0).confidence_interval(0.90).low for own in units]
        assert joint.smallest == pytest.approx(min(lows))
        assert joint.smallest_in == ("few", "many")[int(np.argmin(lows))]
    assert [joint.gap is not None for joint in made.joints] == [True, False, False, False]


def test_one_study_without_an_effect_refutes_all_of_them(two: tuple[Verdict, Verdict]) -> None:
    made = together(two[1], judged(NULL, "null", 12, 3))
    assert made.on_all is Label.REFUTED
    assert made.all_sentence.startswith("Refuted by study 'null' at ")
    assert "at level 0.05/8 as any contrast of any study may refute" in made.all_sentence
    assert made.on_average is Label.SUPPORTED


def test_the_gate_on_budgets_is_asked_of_the_average(two: tuple[Verdict, Verdict]) -> None:
    study = make_study(direct(0.02), 12, 2)
    frame = study.frame.assign(study="many")
    frame.loc[(frame["phase"] == "half") & (frame["arm"] == "rate"), "test_accuracy"] -= 0.05
    made = together(two[0], study.judged(frame, joins=True))
    assert made.on_average is Label.INCONCLUSIVE
    assert "Gates of all: budget" in made.average_sentence


def test_a_gate_of_one_study_stops_the_average(two: tuple[Verdict, Verdict]) -> None:
    four = judged(direct(0.02), "four", 4, 4)
    made = together(two[1], four)
    assert (made.on_all, made.on_average) == (Label.INCONCLUSIVE, Label.INCONCLUSIVE)
    assert made.all_sentence.startswith("Not supported by 'four'.")
    assert "four: searches" in made.average_sentence


def test_what_was_not_registered_together_is_exploratory(two: tuple[Verdict, Verdict]) -> None:
    made = combine(two, {"few": ["few", "many"], "many": []})
    assert (made.on_all, made.on_average) == (Label.EXPLORATORY, Label.EXPLORATORY)
    assert made.exploratory == ("study 'many' did not register this combination (claims.combined)",)


def test_it_is_shown_in_80_columns_and_as_a_page(two: tuple[Verdict, Verdict]) -> None:
    made = together(*two)
    for details in (False, True):
        lines = list(combined_lines(made, details=details))
        assert max(map(len, lines)) <= 80
    assert lines[0] == "Tuning (α, β) regularizes, on all of 2 studies: SUPPORTED"
    page = render_combined(made, joint_rows(made))
    assert 'href="many/report.html"' in page
    assert "on the average of these studies" in page
    assert math.isfinite(made.as_dict()["joints"][0]["freedom"])


@pytest.mark.parametrize(
    ("second", "change", "message"),
    [
        ("one", {}, "'one' is given twice"),
        ("two", {"delta": 0.01}, "their claims.delta is 0.005 and 0.01"),
        ("two", {"alpha": 0.01}, "their claims.alpha is 0.05 and 0.01"),
        ("two", {"h4": None}, "'two' does not test H4"),
    ],
)
def test_studies_that_do_not_fit_are_refused(
    second: str, change: dict[str, object], message: str
) -> None:
    claims = simulated_claims()
    other = ClaimsSection.model_validate({**dict(claims), **change})
    with pytest.raises(InputError, match=message):
        check_combined([("one", claims), (second, other)])


def test_a_study_without_the_runs_of_a_contrast_is_refused(two: tuple[Verdict, Verdict]) -> None:
    study = make_study(direct(0.02), 5, 1)
    lacking = study.judged(study.frame[study.frame["arm"] != "sgd-usual"], joins=True)
    with pytest.raises(InputError, match="cannot be combined, because contrasts of H4"):
        together(two[0], lacking)


def test_one_study_is_not_combined() -> None:
    with pytest.raises(InputError, match="at least 2 studies, got 1"):
        check_combined([("one", simulated_claims())])
