"""Simulated studies whose every arm is searched, trial by trial, in every replicate.

A search draws configurations from a plane; what one loses to the best grows with the square of
its distance from the optimum. The winner is best on validation among all trials, that of half the
budget among the first half; both are trained on the same fresh seeds. The scale is set so that
searches differ as measured ones do: from 16 to 32 trials the winner gains .36 points, and two
winners differ by a standard deviation of about 1.2 points at 16 trials and .27 at 64.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from indian_tune.analysis.ends import Ends
from indian_tune.analysis.simulation import ARMS, GAP, LEVEL, USUAL_GAIN
from indian_tune.columns import config_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

SCALE, SELECTION = 0.1, 0.001
SEED, RUN = 0.01, 0.006
# Standard deviations of how hard an example is: for all, for one arm, and in one run.
SHARED, OWN, REST = 0.85, 0.2, 0.49
SPACES = {
    "full": ("gamma0", "alpha"),
    "rate": ("gamma0", "epsilon"),
    "sgd": ("gamma0", "momentum"),
    "full-usual": ("gamma0", "alpha"),
    "sgd-usual": ("gamma0", "dropout"),
}
OPTIMIZERS = {"full": "indian", "rate": "indian", "full-usual": "indian"}
NOT_SEARCHED = "control"


@dataclass(frozen=True)
class Searched:
    """One arm: its trials and what its winners come to.

    Attributes:
        points: places of the configurations in [-1, 1], [replicates, trials, dimensions].
        loss: what they lose to the best, [replicates, trials].
        score: validation error of the trials, likewise.
        ends: of the winners on the fresh seeds, with those of half the budget.
    """

    points: NDArray[np.float64]
    loss: NDArray[np.float64]
    score: NDArray[np.float64]
    ends: Ends


@dataclass(frozen=True)
class Setting:
    """What is simulated; accuracies are shares.

    Attributes:
        replicates: searches of every arm.
        trials: of a search.
        seeds: fresh seeds of a replicate.
        gain: in test accuracy, by arm, not by fit.
        fit: in training accuracy, by arm.
        usual: what dropout and weight decay gain.
        follows: whether the control loses what the winner loses whose steps it takes; otherwise it
            is searched by itself, as all others are.
        scale: what the corner of half the space loses.
        dimensions: of the space of an arm; 2 if it is not in it.
        selection: standard deviation of what validation adds to a trial's score.
        run: that of a run.
        test_examples: of the test set that all runs share; endless if 0.
    """

    replicates: int = 10
    trials: int = 32
    seeds: int = 5
    gain: Mapping[str, float] = field(default_factory=dict)
    fit: Mapping[str, float] = field(default_factory=dict)
    usual: float = USUAL_GAIN
    follows: bool = True
    scale: float = SCALE
    dimensions: Mapping[str, int] = field(default_factory=dict)
    selection: float = SELECTION
    run: float = RUN
    test_examples: int = 0


def searches(setting: Setting, rng: np.random.Generator) -> dict[str, Searched]:
    """Draw the searches of every arm and the runs of their winners."""
    shared = SEED * rng.standard_normal((setting.replicates, setting.seeds))
    difficulty = rng.standard_normal(setting.test_examples)
    draw = partial(_arm, setting=setting, shared=shared, difficulty=difficulty, rng=rng)
    made = {arm: draw(arm) for arm in ARMS if arm != NOT_SEARCHED}
    made[NOT_SEARCHED] = draw(NOT_SEARCHED, source=made["full"] if setting.follows else None)
    return {arm: made[arm] for arm in ARMS}


def _arm(
    arm: str,
    setting: Setting,
    shared: NDArray[np.float64],
    difficulty: NDArray[np.float64],
    rng: np.random.Generator,
    source: Searched | None = None,
) -> Searched:
    shape = (setting.replicates, setting.trials)
    points = rng.uniform(-1, 1, (*shape, setting.dimensions.get(arm, 2)))
    loss = setting.scale * (points**2).sum(-1)
    level = LEVEL + setting.gain.get(arm, 0.0) + setting.usual * arm.endswith("usual")
    score = 1 - (level - loss + setting.selection * rng.standard_normal(shape))
    if source is not None:
        points, loss, score = source.points, source.loss, source.score
    rows = np.arange(setting.replicates)
    best, early = score.argmin(-1), score[:, : setting.trials // 2].argmin(-1)
    whole = _runs(level - loss[rows, best], arm, setting, shared, rng)
    half = _runs(level - loss[rows, early], arm, setting, shared, rng)
    # The same configuration on the same seeds is the same run.
    same = (best == early)[:, None]
    half = np.where(same, whole, half)
    failed = np.zeros(shared.shape, dtype=bool)
    correct, early_correct = None, None
    if setting.test_examples:
        # What an arm finds hard beyond what all find hard is the same in its halves.
        hard = SHARED * difficulty + OWN * rng.standard_normal(difficulty.shape)
        correct, early_correct = (_correct(each[0], hard, rng) for each in (whole, half))
        early_correct = np.where(same[..., None], correct, early_correct)
        whole[0], half[0] = (each.mean(-1, dtype=float) for each in (correct, early_correct))
    early_ends = Ends(half[0], half[1], half[2], failed, early_correct)
    ends = Ends(whole[0], whole[1], whole[2], failed, correct, half=early_ends)
    return Searched(points, loss, score, ends)


def _correct(
    accuracies: NDArray[np.float64], hard: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw which examples runs of these accuracies get right, [..., examples]."""
    level = special.ndtri(np.clip(accuracies, 0.01, 0.99))[..., None]
    chance = special.ndtr(((level - hard) / REST).astype(np.float32))
    right: NDArray[np.bool_] = rng.random(chance.shape, dtype=np.float32) < chance
    return right.astype(np.float32)


def _runs(
    level: NDArray[np.float64],
    arm: str,
    setting: Setting,
    shared: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return test, training and validation accuracies, [3, replicates, seeds]."""
    test = level[:, None] + shared + setting.run * rng.standard_normal(shared.shape)
    # A gain that is not by fit leaves the training accuracy; what a search loses is lost in both.
    train = test - shared - setting.gain.get(arm, 0.0) + setting.fit.get(arm, 0.0) + GAP
    train = train + 0.1 * setting.run * rng.standard_normal(shared.shape)
    return np.stack([test, train, test + 0.5 * setting.run * rng.standard_normal(shared.shape)])


def searched_frame(
    searched: Mapping[str, Searched], epochs: int = 6, tune_epochs: int | None = None
) -> pd.DataFrame:
    """Return a study as the ledger exports it: all phases, a row per run and epoch."""
    parts = _parts(searched, epochs, tune_epochs or epochs)
    return pd.concat(parts, ignore_index=True).assign(study="simulated")


def _parts(
    searched: Mapping[str, Searched], epochs: int, tune_epochs: int
) -> Iterator[pd.DataFrame]:
    for arm, one in searched.items():
        optimizer = OPTIMIZERS.get(arm, "sgd")
        if arm != NOT_SEARCHED:
            test = 1 - one.score
            replicate, trial = (each.ravel() for each in np.indices(one.score.shape))
            config = {
                config_column(name): 10 ** one.points[..., axis].ravel()
                for axis, name in enumerate(SPACES[arm])
            }
            table = pd.DataFrame(
                {
                    **{"arm": arm, "optimizer": optimizer, "phase": "tune"},
                    **{"replicate": replicate, "trial": trial, "seed": 0},
                    **{"objective": "validation_error", "score": one.score.ravel()},
                    **config,
                }
            )
            yield _along(table, test.ravel() + GAP, test.ravel(), test.ravel(), tune_epochs)
        for phase, ends in (("confirm", one.ends), ("half", one.ends.half)):
            if ends is None:
                continue
            replicate, seed = (each.ravel() for each in np.indices(ends.test.shape))
            table = pd.DataFrame(
                {
                    **{"arm": arm, "optimizer": optimizer, "phase": phase},
                    **{"replicate": replicate, "trial": 0, "seed": 1000 + 100 * replicate + seed},
                }
            )
            yield _along(
                table, ends.train.ravel(), ends.test.ravel(), ends.validation.ravel(), epochs
            )


def _along(
    table: pd.DataFrame,
    train: NDArray[np.float64],
    test: NDArray[np.float64],
    validation: NDArray[np.float64],
    epochs: int,
) -> pd.DataFrame:
    """Return runs epoch by epoch: accuracies that rise to their ends, the test's sooner."""
    parts = []
    for epoch in range(1, epochs + 1):
        left = 1 - (1 - 0.8 ** (20 * epoch / epochs)) / (1 - 0.8**20)
        late = left**2
        parts.append(
            table.assign(
                run_state="complete",
                trial_state="complete",
                epoch=epoch,
                step=10 * epoch,
                train_loss=np.maximum(0.02, -np.log(np.clip(train, 0.2, 0.98))) + 1.5 * left,
                train_accuracy=train - 0.6 * left,
                validation_accuracy=validation - 0.5 * late - 0.05 * left,
                test_accuracy=test - 0.5 * late - 0.05 * left,
                seconds=1.0,
            )
        )
    return pd.concat(parts, ignore_index=True)
