"""Simulated studies with known truth, for calibrating the analysis.

A run's training loss falls exponentially at the rate of its arm and fluctuates between epochs; its
accuracy is a curved function of the loss without fluctuation, plus a direct effect of the arm, an
effect of the seed that all arms share, an effect of the run, and noise per epoch. So an arm may be
better because it trains faster (through the loss), or at equal loss (direct).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from indian_tune.analysis.curves import Curves
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.hypotheses import Cell, Factorial, MatchedLoss, Replication, TuningGain

if TYPE_CHECKING:
    from collections.abc import Mapping

EPOCHS = 24
CHANCE = 0.1
TAUS = (0.8, 0.6, 0.45, 0.35, 0.25)
DELTA = 0.005
# Standard deviations: of a run's accuracy, of the effect of a seed, of accuracy between epochs,
# and of the logarithm of the training loss between epochs and between runs.
RUN_DEVIATION = 0.006
SEED_DEVIATION = 0.01
EPOCH_DEVIATION = 0.002
LOSS_NOISE = 0.03
RATE_DEVIATION = 0.005
# Training loss at the start, and what is left of its logarithm per epoch.
START, RATE = 2.3, 0.11
# What dropout and weight decay alone gain: the positive controls.
CONTROL_GAIN = 0.03
HEAVY_FREEDOM = 4
CONFIGURATIONS = 25

_CELLS = tuple(product((False, True), repeat=3))


def cell_name(tuned: bool, dropout: bool, weight_decay: bool) -> str:
    """Return the name of an arm of the factorial."""
    return f"cell-{tuned:d}{dropout:d}{weight_decay:d}"


# The arms that carry tuned (α, β): what an effect of tuning acts on.
TUNED = ("indian", *(cell_name(*cell) for cell in _CELLS if cell[0]))
ARMS = ("indian", "sgd", "sgd-eta", "adam", "rate", *(cell_name(*cell) for cell in _CELLS))


@dataclass(frozen=True)
class Scenario:
    """A truth to simulate.

    Attributes:
        name: of the scenario.
        direct: gain in accuracy at equal training loss, by arm.
        speed: factor on the rate at which the training loss falls, by arm.
        deviation: factor on the spread of runs, by arm.
        seed_deviation: spread of the effect that the arms share within a seed.
        heavy: whether runs spread as a t distribution rather than a normal one.
        loss_noise: spread of the logarithm of the training loss between epochs.
        floor: training loss that an arm does not get below.
        support: what the claims register about training losses that a run does not reach.
        nulls: tests whose null hypothesis holds, exactly at its boundary.
        effect: size of the effect of tuning that the scenario stands for.
        claim: label that the claim deserves; ``None`` for anything but SUPPORTED.
    """

    name: str
    direct: Mapping[str, float] = field(default_factory=dict)
    speed: Mapping[str, float] = field(default_factory=dict)
    deviation: Mapping[str, float] = field(default_factory=dict)
    seed_deviation: float = SEED_DEVIATION
    heavy: bool = False
    loss_noise: float = LOSS_NOISE
    floor: Mapping[str, float] = field(default_factory=dict)
    support: Literal["common", "all"] = "common"
    nulls: tuple[str, ...] = ()
    effect: float = 0.0
    claim: str | None = None


CONTRASTS = ("indian - adam", "indian - sgd at equal loss", "indian - sgd-eta at equal loss")
NO_EFFECT = (*CONTRASTS, "H3b", "H4")


def with_effect(effect: float) -> Scenario:
    """Return the scenario of a true direct effect of tuning."""
    return Scenario(
        f"direct effect of {100 * effect:g} points",
        direct=dict.fromkeys(TUNED, effect),
        effect=effect,
        claim="SUPPORTED",
    )


SCENARIOS = (
    Scenario("null", nulls=NO_EFFECT),
    Scenario("shared seed effects", seed_deviation=0.05, nulls=NO_EFFECT),
    Scenario("heavy tails", heavy=True, nulls=NO_EFFECT),
    Scenario("unequal variances", deviation=dict.fromkeys(TUNED, 3.0), nulls=NO_EFFECT),
    Scenario(
        "effect through loss only",
        speed=dict.fromkeys(TUNED, 1.25),
        loss_noise=0.2,
        nulls=CONTRASTS[1:],
    ),
    Scenario(
        "effect through learning rate only",
        direct={**dict.fromkeys(TUNED, 0.03), "sgd-eta": 0.03, "adam": 0.03, "rate": 0.03},
        nulls=("H1", "H2", "H3b", "indian - adam", "indian - sgd-eta at equal loss"),
    ),
    Scenario("selection only", nulls=NO_EFFECT),
    Scenario("missing support", floor={"sgd": 0.4}, nulls=NO_EFFECT),
    Scenario("missing support, none allowed", floor={"sgd": 0.4}, support="all"),
    with_effect(0.01),
)


def simulated_claims(scenario: Scenario) -> ClaimsSection:
    """Return the claims that a simulated study registers."""
    return ClaimsSection(
        delta=DELTA,
        thresholds=list(TAUS),
        support=scenario.support,
        h1=Replication(arms=["indian"], baselines=["sgd", "adam"]),
        h2=MatchedLoss(arm="indian", baseline="sgd", matched_rate="sgd-eta"),
        h3b=TuningGain(rate="rate", full="indian"),
        h4=Factorial(
            cells=[
                Cell(arm=cell_name(*cell), tuned=cell[0], dropout=cell[1], weight_decay=cell[2])
                for cell in _CELLS
            ]
        ),
    )


def simulate(
    scenario: Scenario, n: int, replications: int, rng: np.random.Generator
) -> dict[str, Curves]:
    """Draw studies.

    Args:
        scenario: the truth.
        n: seeds.
        replications: how many studies.
        rng: generator.

    Returns:
        curves of every arm, arrays [replications, n, EPOCHS].
    """
    shared = scenario.seed_deviation * rng.standard_normal((replications, n, 1))
    return {arm: _arm(scenario, arm, shared, rng) for arm in ARMS}


def searched(n: int, replications: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the accuracies of a search among configurations that are all alike.

    Returns:
        float64 [replications, CONFIGURATIONS, n]; the default configuration is the first.
    """
    shared = SEED_DEVIATION * rng.standard_normal((replications, 1, n))
    own = RUN_DEVIATION * rng.standard_normal((replications, CONFIGURATIONS, n))
    return np.asarray(0.6 + shared + own)


def simulated_frame(curves: Mapping[str, Curves], replication: int = 0) -> pd.DataFrame:
    """Return one simulated study as the frame that :func:`analyze` reads; seeds are 0, 1, …"""
    parts = []
    for arm, made in curves.items():
        _, n, epochs = made.train_loss.shape
        assert made.validation_accuracy is not None
        parts.append(
            pd.DataFrame(
                {
                    "study": "simulated",
                    "arm": arm,
                    "phase": "confirm",
                    "seed": np.repeat(np.arange(n), epochs),
                    "epoch": np.tile(np.arange(1, epochs + 1), n),
                    "train_loss": made.train_loss[replication].ravel(),
                    "test_accuracy": made.test_accuracy[replication].ravel(),
                    "validation_accuracy": made.validation_accuracy[replication].ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _arm(scenario: Scenario, arm: str, shared: np.ndarray, rng: np.random.Generator) -> Curves:
    replications, n, _ = shared.shape
    shape = (replications, n, EPOCHS)
    rate = RATE * scenario.speed.get(arm, 1.0)
    rates = rate * (1 + RATE_DEVIATION * rng.standard_normal((replications, n, 1)))
    floor = scenario.floor.get(arm, 0.0)
    smooth = floor + (START - floor) * np.exp(-rates * np.arange(1, EPOCHS + 1))
    loss = smooth * np.exp(scenario.loss_noise * rng.standard_normal(shape))
    if scenario.heavy:
        scale = np.sqrt((HEAVY_FREEDOM - 2) / HEAVY_FREEDOM)
        own = scale * rng.standard_t(HEAVY_FREEDOM, (replications, n, 1))
    else:
        own = rng.standard_normal((replications, n, 1))
    own *= RUN_DEVIATION * scenario.deviation.get(arm, 1.0)
    level = 0.72 - 0.15 * np.sqrt(smooth) + scenario.direct.get(arm, 0.0) + _control(arm)
    accuracy = level + shared + own
    test, validation = (accuracy + EPOCH_DEVIATION * rng.standard_normal(shape) for _ in range(2))
    return Curves(
        train_loss=loss,
        test_accuracy=np.clip(test, 0, 1),
        validation_accuracy=np.clip(validation, 0, 1),
        diverged=np.zeros((replications, n), dtype=bool),
        chance=CHANCE,
    )


def _control(arm: str) -> float:
    """Return what dropout and weight decay give a cell of the factorial."""
    if not arm.startswith("cell-"):
        return 0.0
    return CONTROL_GAIN * (int(arm[-2]) + int(arm[-1]))
