"""Stability of INDIAN with a constant step size on a quadratic.

On J(θ) = λθ²/2 one step is linear in (θ, v) with the matrix

    [ 1 - γβλ          γ      ]
    [ -γ(1 - αβ)λ      1 - αγ ]

and the Jury conditions on its trace and determinant give the inequalities below.

With constant hyperparameters SGD, its momentum forms and QHM are such recursions too. Trace and
determinant are then functions of what a configuration means: with effective learning rate η,
instantaneous response r and momentum μ they are 1 + μ - λr and μ + λ(η(1 - μ) - r). For INDIAN,
where η = γ/α, r = γβ and μ = 1 - αγ, these are the trace and the determinant above.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError
from indian_tune.optim.hyperparameters import ALPHA, BETA, GAMMA0

if TYPE_CHECKING:
    from indian_tune.optim.family import Dynamics

__all__ = ["contracts", "stability_limit", "stable"]

GAMMA = replace(GAMMA0, name="gamma")


def stable(alpha: float, beta: float, gamma: float, curvature: float) -> bool:
    """Say whether INDIAN contracts on J = ``curvature`` · θ²/2 at constant step size ``gamma``.

    True exactly when the spectral radius of the iteration matrix is below 1, that is when
    λ > 0, γλ < α + βλ and 4 - 2γ(α + βλ) + γ²λ > 0.

    Args:
        alpha: viscous friction, > 0.
        beta: Newtonian damping, > 0.
        gamma: constant step size, > 0.
        curvature: λ, any finite number.

    Raises:
        HyperparameterError: an argument is not allowed.
    """
    _check(alpha, beta, gamma)
    if not math.isfinite(curvature):
        raise HyperparameterError(f"curvature must be a finite number, got {curvature!r}")
    # The same conditions with what cancels taken together first, as in the limit below: as
    # written above, they lose every digit near αγ = 2.
    return (
        curvature > 0
        and curvature * (gamma - beta) < alpha
        and gamma * curvature * (2 * beta - gamma) < 2 * (2 - alpha * gamma)
    )


def stability_limit(alpha: float, beta: float, gamma: float) -> float:
    """Return the largest L such that every curvature in the open interval (0, L) is stable.

    It is 0 if αγ ≥ 2, else the smaller of 2(2 - αγ) / (γ(2β - γ)), which binds when γ < 2β, and
    α / (γ - β), which binds when γ > β. Beyond γ = β the limit falls off a cliff: with
    (α, β) = (0.5, 0.1) it is 390 at γ = 0.1 and 5 at γ = 0.2.

    Args:
        alpha: viscous friction, > 0.
        beta: Newtonian damping, > 0.
        gamma: constant step size, > 0; with a decaying schedule, the first one.

    Raises:
        HyperparameterError: an argument is not allowed.
    """
    _check(alpha, beta, gamma)
    if alpha * gamma >= 2:
        return 0.0
    limits = []
    if gamma < 2 * beta:
        limits.append(2 * (2 - alpha * gamma) / (gamma * (2 * beta - gamma)))
    if gamma > beta:
        limits.append(alpha / (gamma - beta))
    return min(limits)


def contracts(dynamics: Dynamics, curvature: float) -> bool | None:
    """Say whether a configuration contracts on J = ``curvature`` · θ²/2 with its first step size.

    Args:
        dynamics: what the configuration does in its first step, weight decay left out.
        curvature: λ, above 0.

    Returns:
        ``None`` for a configuration that is no linear recursion, as those of adaptive families.
    """
    rate, response = dynamics.effective_learning_rate, dynamics.instantaneous_response
    momentum = dynamics.momentum
    if rate is None or response is None or momentum is None:
        return None
    trace = 1 + momentum - curvature * response
    determinant = momentum + curvature * (rate * (1 - momentum) - response)
    return abs(trace) < 1 + determinant and determinant < 1


def _check(alpha: float, beta: float, gamma: float) -> None:
    ALPHA.check(alpha)
    BETA.check(beta)
    GAMMA.check(gamma)
