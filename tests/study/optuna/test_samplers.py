from __future__ import annotations

import math
from typing import TYPE_CHECKING

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from indian_tune.study.file.space import Choices, Constant, Grid, Range, grid_points, parse_space
from indian_tune.study.optuna.pruners import PRUNERS
from indian_tune.study.optuna.samplers import SAMPLERS, Draw, derived_seed
from indian_tune.study.optuna.sampling import distributions

if TYPE_CHECKING:
    from indian_tune.study.file.space import Space

SPACE: Space = {
    "alpha": Range(0.05, 2.0, log=True),
    "beta": Range(0.0, 1.0),
    "gamma0": Constant(0.1),
    "batch_size": Range(16, 64, step=16, integer=True),
    "decay_power": Grid((0.0, 0.5)),
}


def draw(sampler: str, index: int, *, seed: int = 0, arm: str = "indian") -> dict[str, float]:
    space = SPACE
    if sampler == "grid":
        space = {n: p for n, p in SPACE.items() if not isinstance(p, Range)}
        space["alpha"] = Choices((0.5, 0.1))
    study = optuna.create_study(sampler=SAMPLERS[sampler].make(Draw(space, seed, arm, index)))
    return study.ask(distributions(space)).params


def test_a_space_becomes_optuna_s_distributions_without_its_constants() -> None:
    assert distributions(SPACE) == {
        "alpha": FloatDistribution(0.05, 2.0, log=True),
        "beta": FloatDistribution(0.0, 1.0),
        "batch_size": IntDistribution(16, 64, step=16),
        "decay_power": CategoricalDistribution((0.0, 0.5)),
    }


@pytest.mark.parametrize("sampler", ["grid", "random", "qmc"])
def test_a_configuration_depends_on_seed_arm_and_index_alone(sampler: str) -> None:
    drawn = [draw(sampler, index) for index in range(4)]
    assert [draw(sampler, index) for index in reversed(range(4))] == drawn[::-1]
    assert len({tuple(config.items()) for config in drawn}) == 4


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "gp", "cmaes"])
def test_every_draw_lies_in_the_space(sampler: str) -> None:
    for index in range(8):
        config = draw(sampler, index)
        assert 0.05 <= config["alpha"] <= 2.0
        assert 0.0 <= config["beta"] <= 1.0
        assert config["batch_size"] in (16, 32, 48, 64)
        assert config["decay_power"] in (0.0, 0.5)


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe"])
def test_another_seed_or_arm_gives_other_draws(sampler: str) -> None:
    first = draw(sampler, 0)
    assert draw(sampler, 0, seed=1) != first
    assert draw(sampler, 0, arm="sgd") != first


def test_a_grid_is_visited_point_by_point() -> None:
    assert [tuple(draw("grid", index).values()) for index in range(4)] == [
        (0.0, 0.5),
        (0.0, 0.1),
        (0.5, 0.5),
        (0.5, 0.1),
    ]


def test_sobol_points_fill_the_space_evenly() -> None:
    """Any 16 successive points from the start put one into each sixteenth of every axis."""
    alphas = [draw("qmc", index)["alpha"] for index in range(16)]
    betas = [draw("qmc", index)["beta"] for index in range(16)]
    width = math.log(2.0) - math.log(0.05)
    cells = sorted(int(16 * (math.log(a) - math.log(0.05)) / width) for a in alphas)
    assert cells == list(range(16))
    assert sorted(int(16 * b) for b in betas) == list(range(16))


def test_a_derived_seed_tells_its_keys_apart() -> None:
    seeds = {derived_seed(1, "a", 2), derived_seed(1, "a2"), derived_seed("1", "a", 2)}
    assert len(seeds) == 3
    # Registered studies rely on it: it may never change.
    assert derived_seed(0, "indian", 3) == 791651545


def test_grid_points_vary_the_last_name_fastest() -> None:
    space = parse_space({"a": {"grid": [1, 2]}, "b": {"choices": [4, 3]}, "c": 9}, "space")
    assert grid_points(space, "space") == [
        {"a": 1, "b": 4},
        {"a": 1, "b": 3},
        {"a": 2, "b": 4},
        {"a": 2, "b": 3},
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", optuna.pruners.NopPruner),
        ("median", optuna.pruners.MedianPruner),
        ("percentile", optuna.pruners.PercentilePruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
        ("wilcoxon", optuna.pruners.WilcoxonPruner),
        ("patient", optuna.pruners.PatientPruner),
    ],
)
def test_a_pruner_is_optuna_s_own(name: str, kind: type) -> None:
    assert type(PRUNERS[name].make(epochs=9)) is kind
