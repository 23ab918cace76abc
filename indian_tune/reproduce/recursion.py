"""INDIAN in NumPy, for many small runs side by side.

The optimizer proper steps tensors; here the parameters are a handful of numbers, the steps are
tens of thousands, and all runs of an experiment are rows of one array.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Gradient = Callable[[Floats], Floats]

__all__ = ["Floats", "Gradient", "Indices", "indian_path", "indian_update", "initial_velocity"]


def indian_update(
    theta: Floats,
    velocity: Floats,
    grad: Floats,
    gamma: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
) -> tuple[Floats, Floats]:
    """Return (θ, v) after one step; hyperparameters broadcast against θ."""
    gamma, alpha, beta = np.asarray(gamma), np.asarray(alpha), np.asarray(beta)
    return (
        theta + gamma * (velocity - beta * grad),
        (1 - alpha * gamma) * velocity - gamma * (1 - alpha * beta) * grad,
    )


def initial_velocity(grad: Floats, beta: ArrayLike, speed: ArrayLike) -> Floats:
    """Return v_0 = (β - s) g_0, with which θ starts at velocity -s g_0, for s = ``speed``."""
    factor: Floats = np.subtract(beta, speed)
    velocity: Floats = factor * grad
    return velocity


def indian_path(
    gradient: Gradient,
    start: Floats,
    *,
    alpha: ArrayLike,
    beta: ArrayLike,
    gamma: float,
    steps: int,
    speed: ArrayLike,
) -> Floats:
    """Return θ_0, …, θ_steps at a constant step size.

    Args:
        gradient: gradient of the objective at each row.
        start: θ_0, shape [runs, d].
        alpha: viscous friction, a number or shape [runs, 1].
        beta: Newtonian damping, likewise.
        gamma: constant step size.
        steps: number of steps.
        speed: s in the start with velocity -s g_0, a number or shape [runs, 1].

    Returns:
        The path, shape [steps + 1, runs, d].
    """
    path = np.empty((steps + 1, *start.shape))
    path[0] = theta = start
    velocity = initial_velocity(gradient(theta), beta, speed)
    for step in range(steps):
        theta, velocity = indian_update(theta, velocity, gradient(theta), gamma, alpha, beta)
        path[step + 1] = theta
    return path
