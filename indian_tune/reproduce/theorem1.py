"""Theorem 1 in numbers: INDIAN with mini-batches on nonsmooth tame objectives.

The theorem says that for step sizes γ_k = γ0 (k + 1)^(-a), a in (0, 1], every accumulation point
of a bounded run is D-critical, 0 ∈ D J, and J(θ_k) converges. Shown along the run are J and the
distance between 0 and D J within a small radius of θ_k; a constant step size (a = 0), which the
theorem leaves out, is run beside for contrast.

What a run can reach is limited by its time Σ γ_k on the clock of the differential equation, which
at a = 1 advances as log k. The faster the step sizes decay, the larger they begin.

Source: theorem 1 of "An Inertial Newton Algorithm for Deep Learning" (Castera, Bolte, Févotte and
Pauwels, 2021).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.optim import admissible, decay
from indian_tune.reproduce.objectives import (
    AbsoluteRegression,
    ReluDifference,
    ReluNetwork,
    TwoKinks,
)
from indian_tune.reproduce.recursion import indian_update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.reproduce.objectives import TameObjective
    from indian_tune.reproduce.recursion import Floats, Indices

__all__ = [
    "DECAY_POWERS",
    "ConvergenceRow",
    "ConvergenceRun",
    "convergence_table",
    "default_objectives",
    "run_convergence",
]

ALPHA, BETA = 0.5, 0.1
DECAY_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
RADIUS = 0.01
# How much larger the first step size is at a = 1 than at a <= 1/2.
HEAD_START = 8.0
RECORDS = 60
TAIL = 0.1


@dataclass(frozen=True)
class ConvergenceRun:
    """All runs on one objective: one row for each decay power and seed.

    Attributes:
        objective: what was minimised.
        decay_powers: a of each row of runs.
        gamma0s: first step size of each row of runs.
        steps: steps k at which the runs were looked at, shape [T], about evenly spaced in log k.
        values: J(θ_k), shape [powers, seeds, T].
        distances: distance of 0 to D J within the radius, same shape.
        distances_at_point: distance of 0 to D J(θ_k) itself, same shape.
        tail_swing: largest minus smallest J over the last tenth of the run, shape [powers, seeds].
        last: θ after the last step, shape [powers, seeds, d].
        clarke_distances: distance of 0 to Clarke's ∂J within the radius of ``last``, shape
            [powers, seeds]; ``None`` where ∂J is not known.
        radius: how far around θ_k kinks count.
    """

    objective: TameObjective
    decay_powers: tuple[float, ...]
    gamma0s: tuple[float, ...]
    steps: Indices
    values: Floats
    distances: Floats
    distances_at_point: Floats
    tail_swing: Floats
    last: Floats
    clarke_distances: Floats | None
    radius: float


@dataclass(frozen=True)
class ConvergenceRow:
    """One line of the table: an objective at a decay power, medians over the seeds.

    Attributes:
        objective: its title.
        decay_power: a.
        gamma0: first step size.
        admissible: whether the theorem covers it.
        value: J at the end.
        tail_swing: largest minus smallest J over the last tenth of the run.
        first_distance: distance of 0 to D J within the radius at the start.
        distance: the same at the end.
        distance_at_point: distance of 0 to D J(θ) itself at the end.
        clarke_distance: distance of 0 to Clarke's ∂J within the radius at the end, where known.
        time: Σ γ_k, how far the run has moved the clock of the differential equation.
    """

    objective: str
    decay_power: float
    gamma0: float
    admissible: bool
    value: float
    tail_swing: float
    first_distance: float
    distance: float
    distance_at_point: float
    clarke_distance: float | None
    time: float


def default_objectives() -> list[TameObjective]:
    """Return the objectives of the table, the last one begun at a point critical for D J alone."""
    return [
        TwoKinks(),
        AbsoluteRegression.random(),
        ReluNetwork.random(),
        ReluDifference(),
        replace(ReluDifference(), initial=(0.0, 0.0), title="the same, begun at (0, 0)"),
    ]


def run_convergence(
    objective: TameObjective,
    *,
    decay_powers: Sequence[float] = DECAY_POWERS,
    seeds: int = 5,
    steps: int = 60_000,
    radius: float = RADIUS,
) -> ConvergenceRun:
    """Run INDIAN from the objective's start; runs of a seed share their mini-batches.

    Args:
        objective: what to minimise.
        decay_powers: exponents a.
        seeds: runs for each exponent.
        steps: steps of a run, at least 10.
        radius: how far around θ_k kinks count.
    """
    powers = tuple(decay_powers)
    gamma0s = tuple(_gamma0(objective, power) for power in powers)
    batches = np.stack(
        [
            np.random.default_rng(seed).integers(
                objective.terms, size=(steps, max(1, objective.terms // 10))
            )
            for seed in range(seeds)
        ]
    )
    looks = np.unique(np.geomspace(1, steps + 1, RECORDS).round().astype(int) - 1)
    theta = np.tile(objective.start, (len(powers) * seeds, 1))
    velocity = np.zeros_like(theta)
    records = []
    tail = []
    for step in range(steps + 1):
        if step in looks:
            records.append(theta)
        if step >= (1 - TAIL) * steps:
            tail.append(objective.value(theta))
        if step < steps:
            grad = objective.subgradient(theta, np.tile(batches[:, step], (len(powers), 1)))
            gammas = [first * decay(step, a) for first, a in zip(gamma0s, powers, strict=True)]
            gamma = np.repeat(gammas, seeds)[:, np.newaxis]
            theta, velocity = indian_update(theta, velocity, grad, gamma, ALPHA, BETA)

    def arrange(rows: Floats) -> Floats:
        return np.moveaxis(rows, 0, -1).reshape(len(powers), seeds, -1)

    return ConvergenceRun(
        objective=objective,
        decay_powers=powers,
        gamma0s=gamma0s,
        steps=looks,
        values=arrange(np.stack([objective.value(one) for one in records])),
        distances=arrange(_distances(objective, records, radius)),
        distances_at_point=arrange(_distances(objective, records, 0.0)),
        tail_swing=np.ptp(np.stack(tail), axis=0).reshape(len(powers), seeds),
        last=theta.reshape(len(powers), seeds, -1),
        clarke_distances=_clarke_distances(objective, theta, radius, len(powers)),
        radius=radius,
    )


def convergence_table(runs: Sequence[ConvergenceRun]) -> list[ConvergenceRow]:
    """Return a line for each objective and decay power."""
    return [
        ConvergenceRow(
            objective=run.objective.title,
            decay_power=power,
            gamma0=gamma0,
            admissible=admissible(power),
            value=float(np.median(run.values[row, :, -1])),
            tail_swing=float(np.median(run.tail_swing[row])),
            first_distance=float(np.median(run.distances[row, :, 0])),
            distance=float(np.median(run.distances[row, :, -1])),
            distance_at_point=float(np.median(run.distances_at_point[row, :, -1])),
            clarke_distance=(
                None
                if run.clarke_distances is None
                else float(np.median(run.clarke_distances[row]))
            ),
            time=gamma0 * sum(decay(step, power) for step in range(run.steps[-1])),
        )
        for run in runs
        for row, (power, gamma0) in enumerate(zip(run.decay_powers, run.gamma0s, strict=True))
    ]


def _gamma0(objective: TameObjective, decay_power: float) -> float:
    head_start: float = HEAD_START ** max(0.0, 2 * decay_power - 1)
    return min(objective.gamma0 * head_start, objective.largest_gamma0)


def _clarke_distances(
    objective: TameObjective, thetas: Floats, radius: float, powers: int
) -> Floats | None:
    sets = [objective.clarke_set(theta, radius) for theta in thetas]
    known = [one.distance_of_zero() for one in sets if one is not None]
    return np.array(known).reshape(powers, -1) if known else None


def _distances(objective: TameObjective, records: Sequence[Floats], radius: float) -> Floats:
    return np.array(
        [
            [objective.critical_set(theta, radius).distance_of_zero() for theta in rows]
            for rows in records
        ]
    )
