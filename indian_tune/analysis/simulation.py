"""Simulated studies with known truth, for calibrating the analysis.

A run's accuracy is that of its arm, plus what the search of the replicate found, an effect of the
seed that all arms share, and an effect of the run. A gain may come with better fit (the training
accuracy rises as well) or without.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.ends import Ends, stuck
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.hypotheses import Factorial, MatchedLoss, TuningGain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

CHANCE = 0.1
DELTA = 0.005
SEEDS = 5
# T2, T1, SGD, control C1, and T2 and SGD with dropout and weight decay.
ARMS = ("full", "rate", "sgd", "control", "full-usual", "sgd-usual")
TUNED = ("full", "full-usual")
LEVEL, GAP = 0.8, 0.1
# What dropout and weight decay alone gain.
USUAL_GAIN = 0.03
# Standard deviations: of what a search finds, of a seed, of a run.
SEARCH, SEED, RUN = 0.003, 0.01, 0.006
HEAVY_FREEDOM = 4


@dataclass(frozen=True)
class World:
    """A truth to simulate.

    Attributes:
        name: of the world.
        gain: in test accuracy, by arm.
        fit: in training accuracy, by arm.
        search: standard deviation of what the search of an arm finds.
        seed: that of the effect that all arms share within a seed.
        spread: factor on the spread of searches and runs, by arm.
        heavy: whether searches and runs spread as a t distribution.
        fails: share of runs that fail.
        supported: whether the claim is true.
        refuted: whether it is false by δ somewhere, so that REFUTED is right.
    """

    name: str
    gain: Mapping[str, float] = field(default_factory=dict)
    fit: Mapping[str, float] = field(default_factory=dict)
    search: float = SEARCH
    seed: float = SEED
    spread: Mapping[str, float] = field(default_factory=dict)
    heavy: bool = False
    fails: float = 0.0
    supported: bool = False
    refuted: bool = True


def direct(effect: float, *, search: float = SEARCH, fails: float = 0.0) -> World:
    """Return the world of a gain in test accuracy without one in fit."""
    return World(
        f"direct effect of {100 * effect:g} points",
        gain=dict.fromkeys(TUNED, effect),
        supported=True,
        refuted=effect < DELTA,
        search=search,
        fails=fails,
    )


WORLDS = (
    World("null"),
    World("shared seed effects", seed=0.05),
    World("heavy tails", heavy=True),
    World("unequal variances", spread=dict.fromkeys(TUNED, 3.0)),
    World(
        "effect through loss only",
        gain=dict.fromkeys(TUNED, 0.02),
        fit=dict.fromkeys(TUNED, 0.02),
        refuted=False,
    ),
    World("effect through learning rate only", gain=dict.fromkeys((*TUNED, "control"), 0.02)),
    World("effect in transit only, or selection only"),
    World("SGD better than default INDIAN", gain={"rate": -0.02}),
    World("T2 under-tuned", gain=dict.fromkeys(TUNED, -0.02), refuted=False),
    World("failing runs, q = .05", fails=0.05),
    World("failing runs, q = .1", fails=0.1),
    World("search variance", search=0.015),
    World("equal gap, other calibration of the loss"),
    direct(0.001),
    direct(0.005),
    direct(0.02),
)


def simulated_claims() -> ClaimsSection:
    """Return the claims that a simulated study registers."""
    return ClaimsSection(
        delta=DELTA,
        h2=MatchedLoss(arm="full", baseline="sgd", matched_rate="control"),
        h3b=TuningGain(rate="rate", full="full"),
        h4=Factorial(full="full-usual", baseline="sgd-usual"),
    )


def simulate(
    world: World, searches: int, rng: np.random.Generator, seeds: int = SEEDS
) -> dict[str, Ends]:
    """Draw one study: every arm with its runs, and with those of half the budget."""
    shared = world.seed * rng.standard_normal((searches, seeds))
    return {arm: _arm(world, arm, shared, rng) for arm in ARMS}


def draws(
    world: World, rng: np.random.Generator, shape: tuple[int, ...], spread: float, deviation: float
) -> NDArray[np.float64]:
    """Draw deviations of searches or runs."""
    if world.heavy:
        scale = np.sqrt((HEAVY_FREEDOM - 2) / HEAVY_FREEDOM)
        return np.asarray(spread * deviation * scale * rng.standard_t(HEAVY_FREEDOM, shape))
    return np.asarray(spread * deviation * rng.standard_normal(shape))


def units(
    world: World, arm: str, baseline: str, searches: int, studies: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw Δ of many studies, [studies, searches]; the seeds' shared effect cancels."""
    sides = []
    for name in (arm, baseline):
        spread = world.spread.get(name, 1.0)
        found = draws(world, rng, (studies, searches), spread, world.search)
        runs = draws(world, rng, (studies, searches, SEEDS), spread, RUN).mean(-1)
        sides.append(world.gain.get(name, 0.0) + found + runs)
    return np.asarray(sides[0] - sides[1])


def simulated_frame(
    arms: Mapping[str, Ends], epochs: int = 3, study: str = "simulated"
) -> pd.DataFrame:
    """Return a simulated study as the frame that ``analyze`` reads."""
    return pd.concat(_parts(arms, epochs, study), ignore_index=True)


def _parts(arms: Mapping[str, Ends], epochs: int, study: str) -> Iterator[pd.DataFrame]:
    for arm, ends in arms.items():
        for phase, made in (("confirm", ends), ("half", ends.half)):
            if made is None:
                continue
            searches, seeds = made.test.shape
            replicate, seed = (table.ravel() for table in np.indices((searches, seeds)))
            for epoch in range(1, epochs + 1):
                behind = 0.05 * (epochs - epoch)
                yield pd.DataFrame(
                    {
                        "study": study,
                        "arm": arm,
                        "phase": phase,
                        "replicate": replicate,
                        "seed": 100 * replicate + seed,
                        "epoch": epoch,
                        "train_loss": 2.0 * 0.5**epoch,
                        "train_accuracy": made.train.ravel() - behind,
                        "test_accuracy": made.test.ravel() - behind,
                        "validation_accuracy": made.validation.ravel() - behind,
                    }
                )


def _arm(world: World, arm: str, shared: NDArray[np.float64], rng: np.random.Generator) -> Ends:
    searches, _ = shared.shape
    spread = world.spread.get(arm, 1.0)
    found = draws(world, rng, (searches, 1), spread, world.search)
    own = draws(world, rng, shared.shape, spread, RUN)
    level = LEVEL + world.gain.get(arm, 0.0) + USUAL_GAIN * arm.endswith("usual")
    test = level + shared + found + own
    train = np.full(shared.shape, LEVEL + GAP + world.fit.get(arm, 0.0))
    train = train + 0.1 * RUN * rng.standard_normal(shared.shape)
    fails = rng.random(shared.shape) < world.fails
    test, train = np.where(fails, CHANCE, test), np.where(fails, CHANCE, train)
    validation = np.where(fails, CHANCE, test + 0.5 * RUN * rng.standard_normal(shared.shape))
    failed = stuck(train, CHANCE)
    half = Ends(
        test - 0.0005 + 0.2 * RUN * rng.standard_normal(shared.shape), train, validation, failed
    )
    return Ends(test, train, validation, failed, half=half)
