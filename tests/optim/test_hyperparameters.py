from __future__ import annotations

import math

import pytest

from indian_tune.errors import HyperparameterError
from indian_tune.optim import Hyperparameter

HALF_OPEN = Hyperparameter("x", "test", low=0, low_open=True, high=2)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (1e-300, True),
        (2, True),
        (2.0, True),
        (0, False),
        (2.0001, False),
        (math.nan, False),
        (math.inf, False),
        (10**400, False),
        ("1", False),
        (None, False),
        (True, False),
    ],
)
def test_open_and_closed_ends_are_told_apart(value: object, allowed: bool) -> None:
    assert HALF_OPEN.allows(value) is allowed


def test_whole_numbers_and_truth_values_are_kinds_of_their_own() -> None:
    whole = Hyperparameter("n", "test", kind="int", low=1)
    assert [whole.allows(value) for value in (1, 5.0, 0, 1.5, True)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    switch = Hyperparameter("b", "test", kind="bool")
    assert [switch.allows(value) for value in (True, 0, 1.0, 2, "true")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_message_names_the_key_the_owner_the_interval_and_the_value() -> None:
    with pytest.raises(HyperparameterError) as refused:
        HALF_OPEN.check(3, owner="adam")
    assert str(refused.value) == "x of adam must be a finite number > 0 and <= 2, got 3"
    assert Hyperparameter("y", "test").allowed == "a finite number"
