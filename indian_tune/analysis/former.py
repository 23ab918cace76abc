"""Common methods that do not keep their level, as a comparison for the calibration.

None of this is used for a verdict. Each function draws a world in which the claim is false, with n
searches of ``SEEDS`` fresh seeds, and judges every study twice: by the former rule and by that of
this package. It returns the studies that either finds a gain in, bool [studies]: all are errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from indian_tune.analysis.estimates import bounds
from indian_tune.analysis.gates import MOST_LEFT_OUT
from indian_tune.analysis.simulation import (
    CHANCE,
    EPOCHS,
    LEVEL,
    LEVELS,
    OCTAVE,
    RUN,
    SEEDS,
    World,
    best_levels,
    octaves_lost,
    trajectory,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Errors = NDArray[np.bool_]
    Tooth = Callable[[int, int, np.random.Generator], tuple[Errors, Errors]]

ALPHA = 0.05
# Standard deviation of what a search finds, and of a seed that arms share.
SEARCH, SHARED = 0.007, 0.05
CONFIGURATIONS = 25
# INDIAN in a bowl: (α, β, γ0) of a configuration that trained, its steps, the curvature of runs.
ALPHA_BETA_GAMMA, STEPS, CURVATURE, SPREAD = (0.094, 1.474, 0.163), 40, 3.0, 0.3


def _above(differences: NDArray[np.float64]) -> Errors:
    return np.asarray(bounds(differences, ALPHA, ALPHA).low > 0)


def _noise(rng: np.random.Generator, *shape: int) -> NDArray[np.float64]:
    return RUN * rng.standard_normal(shape)


def same_data_selection(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Take the best of 25 equal configurations for better, on the seeds that chose it."""
    tuned = _noise(rng, studies, CONFIGURATIONS, n)
    best = tuned.mean(-1).argmax(1)
    chosen = np.take_along_axis(tuned, best[:, None, None], 1)[:, 0]
    fresh = _noise(rng, studies, n, SEEDS, 2).mean(2)
    return _above(chosen - tuned[:, 0]), _above(fresh[..., 0] - fresh[..., 1])


def ancova(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Adjust for a training loss, which comes after the treatment: all of the gain is by fit."""
    smooth = np.exp(np.log([0.25, 0.4])[:, None] + 0.05 * rng.standard_normal((studies, 2, n)))
    train = 0.9 - 0.15 * np.sqrt(smooth)
    test = train - 0.18 + _noise(rng, studies, 2, n)
    y, loss = (
        table.reshape(studies, -1)
        for table in (test, smooth * np.exp(0.2 * rng.standard_normal(smooth.shape)))
    )
    treated = np.broadcast_to(np.r_[np.ones(n), np.zeros(n)], y.shape)
    design = np.stack([np.ones_like(y), treated, loss], axis=-1)
    inverse = np.linalg.inv(np.einsum("rik,ril->rkl", design, design))
    slopes = np.einsum("rkl,ril,ri->rk", inverse, design, y)
    rest = y - np.einsum("rik,rk->ri", design, slopes)
    error = np.sqrt((rest**2).sum(-1) / (2 * n - 3) * inverse[:, 1, 1])
    adjusted = slopes[:, 1] > special.stdtrit(2 * n - 3, 1 - ALPHA) * error
    gain, fit = (table[:, 0] - table[:, 1] for table in (test, train))
    return np.asarray(adjusted), _above(gain) & _above(gain - fit)


def unpaired(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Forget that arms share their seeds: Welch's test, which then finds nothing."""
    shared = SHARED * rng.standard_normal((studies, n))
    a, b = (shared + _noise(rng, studies, n) for _ in range(2))
    made = stats.ttest_ind(a, b, axis=-1, equal_var=False, alternative="greater")
    return np.asarray(made.pvalue <= ALPHA), _above(a - b)


def control_at_eventual_rate(
    n: int, studies: int, rng: np.random.Generator
) -> tuple[Errors, Errors]:
    """Take SGD at γ_k/α for the control, where INDIAN trains and it diverges, scored at chance.

    Every run descends a bowl of its own; a run that ends above where it began has not trained, and
    all that train are equally accurate.
    """
    rates = ALPHA_BETA_GAMMA[2] * (1 - np.arange(STEPS) / STEPS)
    alpha, beta, _ = ALPHA_BETA_GAMMA
    response, memory = [], 0.0
    for rate in rates:
        response.append(rate * (beta + memory))
        memory = (1 - alpha * rate) * memory + rate * (1 - alpha * beta)

    def curvatures(count: int) -> NDArray[np.float64]:
        return CURVATURE * np.exp(SPREAD * rng.standard_normal((studies, n, count)))

    def sgd(bowls: NDArray[np.float64], steps: NDArray[np.float64]) -> Errors:
        return np.asarray(np.abs(np.prod([1 - step * bowls for step in steps], axis=0)) < 1)

    fresh, tuning = curvatures(SEEDS), curvatures(SEEDS)
    place, velocity = np.ones_like(fresh), np.zeros_like(fresh)
    for rate in rates:
        slope = fresh * place
        place = place - rate * (beta * slope + velocity)
        velocity = (1 - alpha * rate) * velocity + rate * (1 - alpha * beta) * slope
    trains = np.abs(place) < 1
    steps = np.array(response)
    tried = np.stack([sgd(tuning, m * steps) for m in LEVELS], axis=-1)
    scores = (LEVEL + _noise(rng, *tried.shape)).mean(2)
    level = best_levels(np.where(tried.all(2), scores, -np.inf))
    matched = np.stack([sgd(fresh, m * steps) for m in LEVELS], axis=-1)
    matched = np.take_along_axis(matched, level[:, :, None, None], -1)[..., 0]
    noise, other = _noise(rng, *fresh.shape), _noise(rng, *fresh.shape)
    eventual = sgd(fresh, rates / alpha)
    scored = [np.where(ok, LEVEL, CHANCE) + e for ok, e in ((trains, noise), (eventual, other))]
    return _above((scored[0] - scored[1]).mean(-1)), _kept(noise - other, trains & matched)


def _kept(differences: NDArray[np.float64], used: Errors) -> Errors:
    """Judge the pairs of which both runs trained; with too few of them, not at all."""
    counts = used.sum(-1)
    means = np.where(used, differences, 0.0).sum(-1) / np.maximum(counts, 1)
    enough = (counts > 0).all(-1) & (used.mean((-1, -2)) >= 1 - MOST_LEFT_OUT)
    return np.asarray(_above(means) & enough)


def control_untuned(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Take SGD at exactly s_k for the control, its best level an octave off; ours tunes the level.

    The level of the arm was searched with the same noise. Against an arm at exactly its best level
    the tuned control, which is at times a level off, errs in .08 and .12 with 5 and 10 searches.
    """
    arm, control = (_noise(rng, studies, n, SEEDS).mean(-1) for _ in range(2))
    arm = arm - octaves_lost(OCTAVE, 0.0, (studies, n), rng)
    tuned = control - octaves_lost(OCTAVE, 1.0, (studies, n), rng)
    return _above(arm - control + OCTAVE), _above(arm - tuned)


def _matched(
    world: World, n: int, studies: int, rng: np.random.Generator, at: str
) -> tuple[Errors, Errors]:
    """Compare at equal loss or training error along training, and at the last epoch."""
    shape = (studies, n, EPOCHS)
    own, other = trajectory(world, "full"), trajectory(world, "control")
    a, b = (
        each["test"] + RUN / math.sqrt(SEEDS) * rng.standard_normal(shape) for each in (own, other)
    )
    # Both arms reach what they are compared at in the middle of training.
    middle = slice(EPOCHS // 4, 3 * EPOCHS // 4)
    levels = other[at][middle]
    expected = np.interp(levels, own[at][::-1], own["test"][::-1]) - other["test"][middle]
    along = expected + (a - own["test"] - b + other["test"])[..., middle]
    gain = (a - b)[..., -1]
    fit = own["train"][-1] - other["train"][-1]
    return _above(along.mean(-1)), _above(gain) & _above(gain - fit)


def equal_cross_entropy(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Compare at equal cross-entropy: the gap is 2 points everywhere, the logits differ."""
    return _matched(World("calibration", calibration={"full": 0.06}), n, studies, rng, "loss")


def equal_training_error(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Compare at equal training error: one arm is better in transit, and not at the end."""
    return _matched(World("transit", transit={"full": 0.009}), n, studies, rng, "error")


def chance_scores(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Count runs that fail with the score of chance; the baseline fails more, the truth is 0."""
    fails = rng.random((studies, n, SEEDS)) < 0.15
    noise = _noise(rng, studies, n, SEEDS)
    return _above((noise + (LEVEL - CHANCE) * fails).mean(-1)), _kept(noise, ~fails)


def one_search(n: int, studies: int, rng: np.random.Generator) -> tuple[Errors, Errors]:
    """Take the seeds of one search for evidence on tuning."""
    found = math.sqrt(2) * SEARCH * rng.standard_normal((studies, n))
    one = found[:, :1] + _noise(rng, studies, n)
    return _above(one), _above(found + _noise(rng, studies, n, SEEDS).mean(-1))


METHODS: dict[str, Tooth] = {
    "best of 25 on the data that chose it": same_data_selection,
    "ANCOVA on the final loss": ancova,
    "unpaired t-test": unpaired,
    "C1 at γ_k/α": control_at_eventual_rate,
    "C1 at m = 1, the optimum an octave off": control_untuned,
    "matched cross-entropy": equal_cross_entropy,
    "matched training error": equal_training_error,
    "chance scores in a t": chance_scores,
    "one search taken for tuning": one_search,
}
