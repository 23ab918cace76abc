"""Simulated studies with known truth, for calibrating the analysis.

A run's accuracy is that of its arm, plus what the search of the replicate found, an effect of the
seed that all arms share, and an effect of the run. A gain may come with better fit (the training
accuracy rises as well) or without, in transit only, or by the level of the learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from indian_tune.analysis.ends import Ends, stuck
from indian_tune.outcome import ACCURACY
from indian_tune.study.claims import ClaimsSection
from indian_tune.study.hypotheses import Factorial, MatchedLoss, TuningGain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CHANCE = 0.1
DELTA = 0.005
SEEDS = 5
# T2, T1, SGD, control C1, and T2 and SGD with dropout and weight decay.
ARMS = ("full", "rate", "sgd", "control", "full-usual", "sgd-usual")
TUNED = ("full", "full-usual")
# Simulated searches have no ranges, so that no winner lies at an end of one.
UNBOUNDED: dict[str, dict[str, Any]] = {arm: {} for arm in ARMS}
LEVEL, GAP = 0.8, 0.1
# What dropout and weight decay alone gain.
USUAL_GAIN = 0.03
# Standard deviations: of what a search finds, of a seed, of a run.
SEARCH, SEED, RUN = 0.003, 0.01, 0.006
HEAVY_FREEDOM = 4
EPOCHS = 12
# Accuracy lost an octave from the best level, as measured on digits.
OCTAVE = 0.0054
# The levels m that the control is tried at.
LEVELS = (0.25, 0.5, 1.0, 2.0, 4.0)


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
        transit: gain in test accuracy in the middle of training that is gone at its end, by arm.
        calibration: by how much the training error at a cross-entropy of 1 is lower, by arm.
        octave: accuracy that T2 and the control lose an octave from their best levels; that of the
            control is twice that of T2, and both are searched.
        candidates: equal configurations of which a search of T2 takes that of the best validation.
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
    transit: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, float] = field(default_factory=dict)
    octave: float = 0.0
    candidates: int = 1
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
    World(
        "effect through learning rate only, the optimum an octave off",
        gain=dict.fromkeys((*TUNED, "control"), 0.02),
        octave=OCTAVE,
    ),
    World("effect in transit only", transit=dict.fromkeys(TUNED, 0.009)),
    World("selection only, of 25", candidates=25),
    World("SGD better than default INDIAN", gain={"rate": -0.02}),
    World("T2 under-tuned", gain=dict.fromkeys(TUNED, -0.02), refuted=False),
    World("failing runs, q = .05", fails=0.05),
    World("failing runs, q = .1", fails=0.1),
    World("search variance", search=0.015),
    World("equal gap, other calibration of the loss", calibration=dict.fromkeys(TUNED, 0.06)),
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


def simulate(world: World, searches: int, rng: np.random.Generator) -> dict[str, Ends]:
    """Draw one study: every arm with its runs, and with those of half the budget."""
    shared = world.seed * rng.standard_normal((searches, SEEDS))
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


def trajectory(world: World, arm: str) -> dict[str, NDArray[np.float64]]:
    """Return what an arm does along training without noise, every value [epochs].

    Returns:
        loss (cross-entropy) and error on the training examples, and the accuracies train and test.
        Loss and error fall to nearly 0 in every world, so that calibration and what happens in
        transit are not in the last epoch.
    """
    loss = 2.3 * np.exp(-0.6 * np.arange(1, EPOCHS + 1))
    error = np.maximum(0.0, (0.3 - world.calibration.get(arm, 0.0)) * loss)
    top = LEVEL + GAP + world.fit.get(arm, 0.0)
    transit = world.transit.get(arm, 0.0) * 4 * (error / 0.3) * (1 - error / 0.3)
    gain = world.gain.get(arm, 0.0) + USUAL_GAIN * arm.endswith("usual")
    return {
        "loss": loss,
        "error": error,
        "train": top - error,
        "test": LEVEL + gain - error + transit,
    }


def best_levels(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return which of the levels scores best, [...] of [..., levels]; ties go to that nearest 1."""
    order = np.argsort(np.abs(np.log2(LEVELS)), kind="stable")
    return np.asarray(order[scores[..., order].argmax(-1)])


def octaves_lost(
    octave: float, best: float, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return what searches lose whose level is chosen by validation over tune seeds, [shape].

    Args:
        octave: what a level loses an octave from the best one; it grows with the square.
        best: log2 of the best level.
        shape: of the searches.
        rng: for the noise of validation.
    """
    loss = octave * (np.log2(LEVELS) - best) ** 2
    tuned = RUN * rng.standard_normal((*shape, SEEDS, len(LEVELS))) - loss
    return np.asarray(loss[best_levels(tuned.mean(-2))])


def _arm(world: World, arm: str, shared: NDArray[np.float64], rng: np.random.Generator) -> Ends:
    searches, _ = shared.shape
    spread = world.spread.get(arm, 1.0)
    found = draws(world, rng, (searches, 1), spread, world.search)
    own = draws(world, rng, shared.shape, spread, RUN)
    ends = {name: float(values[-1]) for name, values in trajectory(world, arm).items()}
    if world.octave and arm in (*TUNED, "control"):
        best = 1.0 if arm == "control" else 0.0
        found = found - octaves_lost(world.octave, best, (searches,), rng)[:, None]
    test = ends["test"] + shared + found + own
    train = ends["train"] + 0.1 * RUN * rng.standard_normal(shared.shape)
    fails = rng.random(shared.shape) < world.fails
    test, train = np.where(fails, CHANCE, test), np.where(fails, CHANCE, train)
    # The best of many on the same validation examples is luckier there than on any others.
    luck = RUN * rng.standard_normal((searches, world.candidates)).max(-1, keepdims=True)
    validation = test + 0.5 * RUN * rng.standard_normal(shared.shape)
    if arm in TUNED and world.candidates > 1:
        validation = validation + luck
    validation = np.where(fails, CHANCE, validation)
    failed = stuck(train, replace(ACCURACY, chance=1 - CHANCE).trained_score)
    half = Ends(
        test - 0.0005 + 0.2 * RUN * rng.standard_normal(shared.shape), train, validation, failed
    )
    return Ends(test, train, validation, failed, half=half)
