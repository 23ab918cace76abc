"""Counts the work of a study: runs, epochs, steps, and its spaces.

Neither torch nor pandas is loaded.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError
from indian_tune.ledger import Phase
from indian_tune.optim.stability import contracts
from indian_tune.study import dynamics_of
from indian_tune.study.examples import example_counts
from indian_tune.study.file.space import (
    Grid,
    bounds,
    constants,
    grid_points,
    sobol_points,
)
from indian_tune.study.levels import LEVELS, is_null

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.study import StudySpec

CURVATURES = (1.0, 10.0, 100.0)
# A power of two, as the Sobol sequence is balanced at those.
POINTS = 1024


@dataclass(frozen=True)
class Work:
    """What one arm does in one phase.

    Attributes:
        arm: its name.
        phase: which.
        trials: what workers claim: configurations in the tune phase, levels in the match phase,
            seeds in the confirm phase.
        seeds: runs of a trial, which one worker trains.
        epochs: of a run, if it is neither pruned nor diverges.
        steps_per_epoch: optimizer steps; the mean over the space where it searches the batch size.
    """

    arm: str
    phase: Phase
    trials: int
    seeds: int
    epochs: int
    steps_per_epoch: float

    @property
    def runs(self) -> int:
        """Number of runs."""
        return self.trials * self.seeds

    @property
    def total_epochs(self) -> int:
        """Epochs of all runs together."""
        return self.runs * self.epochs

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all runs together."""
        return round(self.total_epochs * self.steps_per_epoch)


def workload(spec: StudySpec) -> list[Work]:
    """Return what every arm does, phase after phase; at most, if runs are pruned or diverge."""
    protocol, replicates = spec.protocol, spec.replicates
    fresh = len(protocol.confirming_seeds)

    def work(arm: str, phase: Phase, trials: int, seeds: int) -> Work:
        confirms = phase in (Phase.HALF, Phase.CONFIRM)
        epochs = protocol.epochs if confirms else protocol.tuning_epochs
        steps = _steps_per_epoch(spec, arm)
        return Work(arm, phase, trials * replicates, seeds, epochs, steps)

    found = [
        work(arm, Phase.TUNE, spec.trials_of(arm), len(protocol.tuning_seeds))
        for arm in spec.searched_arms
    ]
    if protocol.finalists:
        seeds = len(protocol.final_seeds_of(0, replicates))
        found += [
            work(arm, Phase.FINAL, min(protocol.finalists, spec.trials_of(arm)), seeds)
            for arm in spec.searched_arms
        ]
    found += [
        work(arm, Phase.MATCH, len(LEVELS), len(protocol.matching_seeds))
        for arm in spec.matched_arms
        if not _is_always_null(spec, arm)
    ]
    if fresh and spec.claims.half_budget:
        found += [work(arm, Phase.HALF, fresh, 1) for arm in spec.searched_arms]
    if fresh:
        found += [work(arm.name, Phase.CONFIRM, fresh, 1) for arm in spec.arms]
    return found


def points(spec: StudySpec, arm: str) -> list[dict[str, float]]:
    """Return whole configurations that stand for the space of an arm.

    All points of a grid, the one configuration of an arm that is not tuned, and quasi-random
    points of any other space; none for an arm whose configuration follows from a winner.
    """
    section, space = spec.arm(arm), spec.space(arm)
    if section.source is not None:
        return []
    fixed = constants(space)
    if section.fixed:
        return [fixed]
    if spec.search.sampler.enumerates:
        searched = grid_points(space, f"arm {arm!r}")
    else:
        searched = sobol_points(space, 0, POINTS)
    return [{**fixed, **point} for point in searched]


def unstable_shares(spec: StudySpec, arm: str) -> tuple[float, ...] | None:
    """Return the share of an arm's space predicted unstable at each of ``CURVATURES``.

    A point is unstable at curvature λ if its recursion does not contract on λθ²/2 with its first,
    and largest, step size.

    Returns:
        ``None`` where it is not known: adaptive families, which are no linear recursions, and an
        arm whose configuration follows from a winner.
    """
    try:
        dynamics = [dynamics_of(spec.arm(arm).optimizer, point) for point in points(spec, arm)]
    except HyperparameterError:
        # Values that are fine one by one and not together, which only torch can tell.
        return None
    verdicts = [[contracts(each, curvature) for each in dynamics] for curvature in CURVATURES]
    if not dynamics or any(None in row for row in verdicts):
        return None
    return tuple(row.count(False) / len(row) for row in verdicts)


def searched(spec: StudySpec, arm: str) -> list[str]:
    """Return the hyperparameters that an arm searches."""
    if not spec.arm(arm).searched:
        return []
    ends = {name: bounds(value) for name, value in spec.space(arm).items()}
    return [name for name, (low, high) in ends.items() if low != high]


def grids(spec: StudySpec, arm: str) -> Mapping[str, tuple[float, ...]]:
    """Return the ordered lists of values that an arm searches, by hyperparameter."""
    space = spec.space(arm)
    return {name: value.values for name, value in space.items() if isinstance(value, Grid)}


def _is_always_null(spec: StudySpec, arm: str) -> bool:
    """Whether the source of a control has αβ = 1 whatever its winner is."""
    fixed = constants(spec.space(str(spec.arm(arm).source)))
    return {"alpha", "beta"} <= fixed.keys() and is_null(fixed)


def _steps_per_epoch(spec: StudySpec, arm: str) -> float:
    train, _, _ = example_counts(spec)
    sizes = [spec.problem.batch_size]
    # A control trains with batches of the size that its source's winner has.
    arm = spec.arm(arm).source or arm
    if "batch_size" in spec.space(arm):
        sizes = [int(point["batch_size"]) for point in points(spec, arm)]
    return statistics.fmean(-(-train // size) for size in sizes)
