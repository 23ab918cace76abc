"""The records of a verdict: they stay as they were found, and say what is not known."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from indian_tune.analysis import Label, verdict
from indian_tune.analysis.verdict import Amount, Scope
from indian_tune.outcome import ACCURACY, Outcome
from tests.analysis.conftest import SCOPE, Study

MSE = Outcome("mse", "MSE", "MSE", chance=90.0)
RECORDS = (
    *(verdict.Amount, verdict.Contrast, verdict.Gate, verdict.Finding, verdict.Scope),
    *(verdict.Registration, verdict.Importance, verdict.BudgetCurve, verdict.Trained),
    verdict.Verdict,
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_nothing_that_was_found_can_be_changed(record: type) -> None:
    made: object = object.__new__(record)
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(record)[0].name, "another")


def test_what_is_not_known_of_a_scope_is_said_to_be_so() -> None:
    unknown = dict.fromkeys(("network", "dataset", "classes", "epochs", "trials"))
    unknown |= {"tune_epochs": None, "outcome": None}
    assert vars(Scope()) == {**unknown, "extended": (), "searches": 0, "n": 0}
    assert (Scope().judged, Scope().trained_score) == (ACCURACY, None)
    assert Scope(classes=10).trained_score == pytest.approx(0.28)
    assert (Scope(classes=4, outcome=MSE).judged, Scope(outcome=MSE).trained_score) == (
        MSE,
        1 - 0.995 * 90,
    )


def test_a_contrast_asks_for_nothing_that_it_was_not_given() -> None:
    nothing = Amount(0.0, -1.0, 1.0)
    made = verdict.Contrast(
        *("a - b", "a", "b", nothing, None, None, None, 0.0, "searches"),
        *(1, 1, 1, 0, 0, 0, 0, (0.0,), Label.INCONCLUSIVE),
    )
    assert (made.needs_gap, made.contains, made.power) == (False, (), None)


def test_plain_data_hold_every_field_but_those_that_are_as_usual(gain: Study) -> None:
    plain = gain.judged().as_dict()
    assert plain.keys() == {each.name for each in fields(verdict.Verdict)} - {"doubt"}
    usual = {"outcome", "extended"}
    assert plain["scope"].keys() == {each.name for each in fields(Scope)} - usual
    extended = replace(gain, scope=replace(SCOPE, extended=(2, 4)))
    assert extended.judged().as_dict()["scope"]["extended"] == (2, 4)
