"""DIN, the differential equation that INDIAN discretises.

For J in C² the dynamical inertial Newton system is

    θ'' + α θ' + β ∇²J(θ) θ' + ∇J(θ) = 0.

It needs no Hessian when written in two equations of first order. With the phase variable ψ they
are θ' = (1/β - α)θ - ψ/β - β∇J(θ) and ψ' = (1/β - α)θ - ψ/β; with v = (1/β - α)θ - ψ/β, as
solved here,

    θ' = v - β ∇J(θ),    v' = -α v - (1 - αβ) ∇J(θ).

Source: section 2 of "An Inertial Newton Algorithm for Deep Learning" (Castera, Bolte, Févotte and
Pauwels, 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.reproduce.recursion import Floats, Gradient, indian_path, initial_velocity

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Discretisation", "compare_with_din", "solve_din"]


def solve_din(
    gradient: Gradient,
    start: Floats,
    times: Floats,
    *,
    alpha: float,
    beta: float,
    speed: float,
    tolerance: float = 1e-11,
) -> tuple[Floats, Floats]:
    """Solve DIN with SciPy's eighth-order Runge-Kutta method.

    Args:
        gradient: gradient of the objective at each row of an array of shape [1, d]; it must be
            continuous along the path for the tolerance to mean anything.
        start: θ(0), shape [d].
        times: increasing times that begin with 0.
        alpha: viscous friction.
        beta: Newtonian damping.
        speed: s in the start with θ'(0) = -s ∇J(θ(0)).
        tolerance: relative error of a step of the solver.

    Returns:
        θ and v at ``times``, each of shape [len(times), d].

    Raises:
        ArithmeticError: the solver gave up.
    """
    from scipy.integrate import solve_ivp

    size = start.shape[0]

    def velocity_field(time: float, state: Floats) -> Floats:
        del time
        grad = gradient(state[np.newaxis, :size])[0]
        velocity = state[size:]
        return np.concatenate(
            [velocity - beta * grad, -alpha * velocity - (1 - alpha * beta) * grad]
        )

    velocity = initial_velocity(gradient(start[np.newaxis])[0], beta, speed)
    solution = solve_ivp(
        velocity_field,
        (times[0], times[-1]),
        np.concatenate([start, velocity]),
        method="DOP853",
        t_eval=times,
        rtol=tolerance,
        atol=tolerance,
    )
    if not solution.success:
        raise ArithmeticError(f"DIN could not be solved: {solution.message}")
    return solution.y[:size].T, solution.y[size:].T


@dataclass(frozen=True)
class Discretisation:
    """How INDIAN at constant step sizes approaches DIN.

    Attributes:
        gammas: step sizes.
        errors: largest distance |θ_k - θ(kγ)| up to the horizon, one for each step size.
    """

    gammas: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def order(self) -> float:
        """Slope of log error against log step size; 1 for a method of first order."""
        slope, _ = np.polyfit(np.log(self.gammas), np.log(self.errors), 1)
        return float(slope)


def compare_with_din(
    gradient: Gradient,
    start: Floats,
    *,
    alpha: float,
    beta: float,
    speed: float,
    gammas: Sequence[float],
    horizon: float,
) -> Discretisation:
    """Measure the distance between INDIAN and DIN for each step size.

    Args:
        gradient: as for :func:`solve_din`.
        start: θ(0), shape [d].
        alpha: viscous friction.
        beta: Newtonian damping.
        speed: s in the start with velocity -s ∇J(θ(0)).
        gammas: step sizes that divide ``horizon``.
        horizon: time up to which the paths are compared.
    """
    errors = []
    for gamma in gammas:
        steps = round(horizon / gamma)
        path = indian_path(
            gradient,
            start[np.newaxis],
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            steps=steps,
            speed=speed,
        )[:, 0]
        times = np.linspace(0, horizon, steps + 1)
        exact, _ = solve_din(gradient, start, times, alpha=alpha, beta=beta, speed=speed)
        errors.append(float(np.linalg.norm(path - exact, axis=1).max()))
    return Discretisation(tuple(gammas), tuple(errors))
