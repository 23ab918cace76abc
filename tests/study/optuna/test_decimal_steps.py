"""Steps are decimal, as the study file writes them, whoever draws."""

from __future__ import annotations

import random
from decimal import Decimal

import optuna
import pytest

from indian_tune.errors import StudyFileError
from indian_tune.study.file.space import Range, Space, at_quantile, parse_parameter
from indian_tune.study.optuna.samplers import SAMPLERS, Draw
from indian_tune.study.optuna.sampling import distributions
from indian_tune.study.optuna.unsaved_trial import unsaved_trial

CASES = 300


def stepped(seed: int) -> tuple[Range, list[float]]:
    """Return a range with random decimal ends and step, and the values that it allows."""
    numbers = random.Random(seed)
    scale = Decimal(1).scaleb(-numbers.randint(0, 6))
    low = numbers.randint(-20, 20) * scale
    step = numbers.randint(1, 9) * scale
    count = numbers.randint(1, 12)
    rest = numbers.randint(0, 9) * step / 10
    values = [float(low + k * step) for k in range(count + 1)]
    raw = {"low": float(low), "high": float(low + count * step + rest), "step": float(step)}
    parameter = parse_parameter(raw, "space.beta")
    assert isinstance(parameter, Range)
    return parameter, values


def test_the_allowed_values_are_sums_of_decimals() -> None:
    for seed in range(CASES):
        parameter, values = stepped(seed)
        assert [parameter.at_step(k) for k in range(parameter.steps + 1)] == values
        assert [parameter.nearest(value + 1e-9 * parameter.low) for value in values] == values


def test_every_quantile_is_an_allowed_value() -> None:
    for seed in range(CASES):
        parameter, values = stepped(seed)
        assert {at_quantile(parameter, u / 200) for u in range(200)} == set(values)


@pytest.mark.parametrize(
    ("sampler", "cases"), [("random", CASES), ("qmc", CASES), ("tpe", CASES), ("gp", 3)]
)
def test_every_sampler_draws_allowed_values(sampler: str, cases: int) -> None:
    for seed in range(cases):
        parameter, values = stepped(seed)
        searched = distributions({"beta": parameter})
        storage = optuna.storages.InMemoryStorage()
        storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "steps")
        others: list[optuna.trial.FrozenTrial] = []
        for index in range(4):
            drawn = unsaved_trial(
                storage,
                "steps",
                searched,
                SAMPLERS[sampler].make(Draw({"beta": parameter}, seed, "arm", index)),
                optuna.pruners.NopPruner(),
                others,
                number=index,
            )
            assert drawn.params["beta"] in values
            assert searched["beta"]._contains(
                searched["beta"].to_internal_repr(drawn.params["beta"])
            )
            drawn.state, drawn.values = optuna.trial.TrialState.COMPLETE, [0.1 * index]
            others.append(drawn)


def test_evolution_draws_allowed_values_of_several_parameters() -> None:
    for seed in range(CASES):
        cases = {name: stepped(3 * seed + n) for n, name in enumerate(("alpha", "beta", "gamma0"))}
        space: Space = {name: parameter for name, (parameter, _) in cases.items()}
        study = optuna.create_study(sampler=SAMPLERS["cmaes"].make(Draw(space, seed, "arm", 0)))
        drawn = unsaved_trial(
            study._storage,
            study.study_name,
            distributions(space),
            study.sampler,
            optuna.pruners.NopPruner(),
            [],
            number=0,
        )
        for name, (_, values) in cases.items():
            assert drawn.params[name] in values


def test_a_step_as_wide_as_its_range_has_two_values() -> None:
    parameter = parse_parameter({"low": 0.1, "high": 0.3, "step": 0.2}, "space.beta")
    assert isinstance(parameter, Range)
    assert [parameter.at_step(k) for k in range(parameter.steps + 1)] == [0.1, 0.3]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"low": 0.1, "high": 0.3, "step": 0.21},
            r"step = 0.21 must be above 0 and at most .* 0.2$",
        ),
        ({"low": 0, "high": 1, "step": 1e-9}, "step = 1e-09 makes more than 1000000 values"),
        ({"low": 5e-324, "high": 1e308, "step": 5e-324}, "makes more than 1000000 values"),
    ],
)
def test_a_step_that_makes_no_values_or_too_many_is_refused(
    raw: dict[str, float], message: str
) -> None:
    with pytest.raises(StudyFileError, match=message):
        parse_parameter(raw, "space.beta")
