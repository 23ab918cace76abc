"""What every contender of the sweep does: 40 trials of INDIAN on digits, as in the quickstart."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import optuna

from indian_tune.problems import load_problem
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.samplers import SAMPLERS, Draw
from indian_tune.study.optuna.sampling import distributions
from tests.benchmarks.everyday import EverydayTraining

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.problems.problem import Problem

BATCH_SIZE, DROPOUT, VALIDATION_FRACTION, SEED = 32, 0.25, 0.25, 0
# All on a logarithmic scale.
SPACE = {"alpha": (0.05, 2.0), "beta": (0.01, 2.0), "gamma0": (1e-3, 1.0)}


def study(trials: int, epochs: int) -> dict[str, Any]:
    """Return the sweep as a study file would say it."""
    space = {name: {"low": low, "high": high, "log": True} for name, (low, high) in SPACE.items()}
    return {
        "name": "sweep",
        "problem": {
            "dataset": "digits",
            "model": "nin-small",
            "dropout": DROPOUT,
            "batch_size": BATCH_SIZE,
            "validation_fraction": VALIDATION_FRACTION,
        },
        "protocol": {"epochs": epochs, "tune_seeds": [SEED], "confirm_seeds": 0},
        "search": {"trials": trials, "sampler": "random", "seed": 0},
        "arms": [{"name": "indian", "optimizer": "indian", "space": space}],
    }


def configurations(trials: int) -> list[dict[str, float]]:
    """Return the configurations that the study above gives its trials, in their order."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = parse_study(study(trials, 1), source="benchmark").space("indian")
    return [
        optuna.create_study(sampler=SAMPLERS["random"].make(Draw(space, 0, "indian", index)))
        .ask(distributions(space))
        .params
        for index in range(trials)
    ]


@cache
def digits() -> Problem:
    """Return the same images for training and for validation as the study above has."""
    return load_problem(
        dataset="digits", model="nin-small", validation_fraction=VALIDATION_FRACTION
    )


def training(config: Mapping[str, float]) -> EverydayTraining:
    """Return an untrained network with the loop that a user would write."""
    return EverydayTraining(
        digits(),
        gamma0=config["gamma0"],
        alpha=config["alpha"],
        beta=config["beta"],
        batch_size=BATCH_SIZE,
        dropout=DROPOUT,
        seed=SEED,
    )
