"""Every number of a study file, and every product of numbers, has an upper bound."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from indian_tune.errors import StudyFileError
from indian_tune.study.file.space import sobol_points
from indian_tune.study.file.spec import parse_study

HUGE = 10**30


def changed(tiny: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    raw = copy.deepcopy(tiny)
    section, key = path.split(".")
    raw[section][key] = value
    return raw


@pytest.mark.parametrize(
    "path",
    [
        *("problem.batch_size", "problem.width", "problem.split_seed", "problem.init_std"),
        *("problem.size", "problem.label_noise"),
        *("protocol.epochs", "protocol.tune_epochs", "protocol.tune_seeds"),
        *("protocol.confirm_seeds", "protocol.train_eval_size"),
        *("search.trials", "search.seed", "search.epochs", "search.seconds", "search.generation"),
    ],
)
@pytest.mark.parametrize("value", [HUGE, 1e300])
def test_every_number_has_a_bound(tiny: dict[str, Any], path: str, value: float) -> None:
    with pytest.raises(StudyFileError, match=path.replace(".", r"\.")):
        parse_study(changed(tiny, path, value), source="test")


def test_a_study_has_no_more_runs_than_can_be_recorded(tiny: dict[str, Any]) -> None:
    tiny["search"]["trials"] = 1_000_000
    tiny["protocol"]["tune_seeds"] = 10
    with pytest.raises(StudyFileError, match="runs, but at most 1000000 are allowed: lower search"):
        parse_study(tiny, source="test")


def test_a_study_has_no_more_epochs_than_can_be_recorded(tiny: dict[str, Any]) -> None:
    tiny["search"]["trials"] = 10_000
    tiny["protocol"] |= {"epochs": 1_000_000, "tune_epochs": 1_000_000}
    with pytest.raises(StudyFileError, match="epochs, but at most 100000000 are allowed"):
        parse_study(tiny, source="test")


def test_a_grid_is_counted_before_it_is_made(tiny: dict[str, Any]) -> None:
    tiny["search"]["sampler"] = "grid"
    axis = {"grid": [float(n) for n in range(1, 1001)]}
    tiny["arms"] = [
        {
            "name": "indian",
            "optimizer": "indian",
            "space": {"alpha": axis, "beta": axis, "gamma0": axis},
        }
    ]
    told = r"is a grid of 1,000,000,000 points, more than search.trials = \d+: thin the grid"
    with pytest.raises(StudyFileError, match=told):
        parse_study(tiny, source="test")


def test_factors_are_counted_before_they_are_multiplied(tiny: dict[str, Any]) -> None:
    levels = {f"l{n}": {"alpha": 0.1 * (n + 1)} for n in range(10)}
    tiny["factors"] = [{"name": f"f{n}", "levels": levels} for n in range(12)]
    with pytest.raises(StudyFileError, match="factors have 1000000000000 combinations"):
        parse_study(tiny, source="test")


def test_seeds_are_not_listed_without_end(tiny: dict[str, Any]) -> None:
    tiny["protocol"]["confirm_seeds"] = list(range(1000, 12_000))
    with pytest.raises(StudyFileError, match="confirm_seeds"):
        parse_study(tiny, source="test")


def test_an_integer_that_arrays_do_not_hold_is_a_float(tiny: dict[str, Any]) -> None:
    for name, value in (
        ("alpha", {"low": 0.05, "high": 10**30, "log": True}),
        ("alpha", {"low": 1, "high": 10**30}),
        ("alpha", {"low": 10**30, "high": 10**30 + 10**20, "step": 10**19}),
        ("alpha", {"choices": [1, 10**30]}),
        ("alpha", {"grid": [1, 10**30]}),
        ("alpha", 10**30),
    ):
        tiny["arms"] = [{"name": "indian", "optimizer": "indian", "space": {name: value}}]
        spec = parse_study(tiny, source="test")
        for point in sobol_points(spec.space("indian"), 0, 4):
            np.array(list(point.values())).astype(float, casting="safe")
        assert parse_study(spec.canonical(), source="test").digest == spec.digest
