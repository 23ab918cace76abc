r"""INDIAN as functions of tensors.

``psi_form_step`` is the readable specification: the published recursion in (θ, ψ). Everything
else computes in the velocity form, which is the same map in (θ, v) with
v = (1/β - α)θ - ψ/β:

.. math::
    \theta_{k+1} = \theta_k + \gamma_k (v_k - \beta g_k), \qquad
    v_{k+1} = (1 - \alpha\gamma_k) v_k - \gamma_k (1 - \alpha\beta) g_k .

It divides by nothing, cancels nothing when β is small, and leaves no jump in θ when α, β or the
weights are changed between two steps.

All functions work in place, on tensors that do not require grad or under ``torch.no_grad()``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    Tensors = list[Tensor] | tuple[Tensor, ...]

__all__ = ["effective_gradients", "indian", "indian_step", "innaprop", "psi_form_step"]


def psi_form_step(
    theta: Tensor,
    psi: Tensor,
    grad: Tensor,
    *,
    gamma: float,
    alpha: float,
    beta: float,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = True,
) -> None:
    """Take one step of the published recursion, for reading and for checking the others.

    Both updates use the old θ and the old ψ. Updating ψ first and using the new one in θ is a
    different method. Decoupled weight decay shrinks θ outside the dynamics, so ψ follows by
    the amount that leaves the velocity as it is.

    Args:
        theta: parameter θ, changed in place.
        psi: phase variable ψ, of θ's shape, changed in place; starts at (1 - αβ)θ.
        grad: gradient g at θ, of θ's shape.
        gamma: step size γ_k.
        alpha: viscous friction.
        beta: Newtonian damping.
        weight_decay: strength of weight decay.
        decoupled_weight_decay: outside the dynamics, or added to the gradient.
    """
    if weight_decay != 0 and not decoupled_weight_decay:
        grad = grad + weight_decay * theta
    u = (1 / beta - alpha) * theta - psi / beta
    theta_step = gamma * (u - beta * grad)
    psi_step = gamma * u
    if weight_decay != 0 and decoupled_weight_decay:
        shrinkage = gamma * weight_decay * theta
        theta_step -= shrinkage
        psi_step -= (1 - alpha * beta) * shrinkage
    theta += theta_step
    psi += psi_step


def indian_step(
    theta: Tensor,
    velocity: Tensor,
    grad: Tensor,
    gamma: Tensor,
    alpha: Tensor,
    beta: Tensor,
) -> None:
    """Take one step in place with hyperparameters that are tensors and broadcast.

    K runs are stepped together by parameters of shape [K, N] and hyperparameters of shape
    [K, 1]; nothing crosses between rows. A single parameter takes 0-dimensional hyperparameters.
    No value leaves the device, so the step can be captured in a graph.

    Args:
        theta: parameters, changed in place.
        velocity: velocities v, of θ's shape, changed in place; start at 0.
        grad: gradients, of θ's shape.
        gamma: step sizes γ_k, broadcastable to θ.
        alpha: viscous frictions, broadcastable to θ.
        beta: Newtonian dampings, broadcastable to θ.
    """
    scaled_step(theta, velocity, grad, step_factors(gamma, alpha, beta))


def step_factors(gamma: Tensor, alpha: Tensor, beta: Tensor) -> dict[str, Tensor]:
    """Return what a step multiplies by: γ, γβ, αγ and γ(1 - αβ)."""
    return {
        "gamma": gamma,
        "damping": gamma * beta,
        "friction": alpha * gamma,
        "push": gamma * (1 - alpha * beta),
    }


def scaled_step(
    theta: Tensor, velocity: Tensor, grad: Tensor, factors: Mapping[str, Tensor]
) -> None:
    """Take one step in place with products of the hyperparameters, see :func:`indian_step`.

    Args:
        theta: parameters, changed in place.
        velocity: velocities v, of θ's shape, changed in place.
        grad: gradients, of θ's shape.
        factors: of :func:`step_factors`; others are passed over.
    """
    theta.addcmul_(velocity, factors["gamma"])
    theta.addcmul_(grad, factors["damping"], value=-1)
    # Not a multiplication by 1 - αγ: in float32 that rounds a small αγ by up to 6e-8, in every
    # step and for every element alike.
    velocity.addcmul_(velocity, factors["friction"], value=-1)
    velocity.addcmul_(grad, factors["push"], value=-1)


def indian(
    params: Tensors,
    grads: Tensors,
    velocities: Tensors,
    *,
    gamma: float | Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    foreach: bool = True,
) -> None:
    """Take one step in place on lists of tensors, without temporaries.

    Args:
        params: parameters, changed in place.
        grads: their gradients, left as they are.
        velocities: their velocities, changed in place.
        gamma: step size γ_k.
        alpha: viscous friction.
        beta: Newtonian damping. With any of the three as a 0-dimensional tensor no value leaves
            the device, so the step can be captured in a graph; foreach then makes temporaries.
        foreach: work on all tensors at once; ``False`` goes tensor by tensor. Numbers give the
            same result both ways, to the last bit.
    """
    if isinstance(gamma, Tensor) or isinstance(alpha, Tensor) or isinstance(beta, Tensor):
        if foreach:
            # A foreach addition takes its factor as a number only, hence the temporaries.
            torch._foreach_add_(params, torch._foreach_mul(velocities, gamma))
            torch._foreach_add_(params, torch._foreach_mul(grads, -gamma * beta))
            torch._foreach_add_(velocities, torch._foreach_mul(velocities, -alpha * gamma))
            torch._foreach_add_(velocities, torch._foreach_mul(grads, -gamma * (1 - alpha * beta)))
        else:
            for theta, grad, velocity in zip(params, grads, velocities, strict=True):
                scalars = (torch.as_tensor(x, device=theta.device) for x in (gamma, alpha, beta))
                indian_step(theta, velocity, grad, *scalars)
    elif foreach:
        torch._foreach_add_(params, velocities, alpha=gamma)
        torch._foreach_add_(params, grads, alpha=-gamma * beta)
        torch._foreach_add_(velocities, velocities, alpha=-alpha * gamma)
        torch._foreach_add_(velocities, grads, alpha=-gamma * (1 - alpha * beta))
    else:
        for theta, grad, velocity in zip(params, grads, velocities, strict=True):
            theta.add_(velocity, alpha=gamma).add_(grad, alpha=-gamma * beta)
            velocity.add_(velocity, alpha=-alpha * gamma)
            velocity.add_(grad, alpha=-gamma * (1 - alpha * beta))


def innaprop(
    params: Tensors,
    grads: Tensors,
    velocities: Tensors,
    squares: Tensors,
    *,
    step: float,
    gamma: float,
    alpha: float,
    beta: float,
    sigma: float,
    eps: float,
) -> None:
    """Take one step of INNAprop in place on lists of tensors; see :class:`Innaprop`.

    Args:
        params: parameters, changed in place.
        grads: their gradients, left as they are.
        velocities: their velocities, changed in place.
        squares: their means of squared gradients, changed in place.
        step: how many steps this makes, 1 for the first.
        gamma: step size γ_k.
        alpha: viscous friction.
        beta: Newtonian damping.
        sigma: decay of the mean of squares.
        eps: keeps the denominator from 0.
    """
    torch._foreach_mul_(squares, sigma)
    torch._foreach_addcmul_(squares, grads, grads, value=1 - sigma)
    # The correction is taken out of the denominator, which saves a pass over memory.
    correction = math.sqrt(1 - sigma**step)
    sizes = torch._foreach_sqrt(squares)
    torch._foreach_add_(sizes, eps * correction)
    scale = -gamma * correction
    torch._foreach_add_(params, velocities, alpha=gamma)
    torch._foreach_addcdiv_(params, grads, sizes, value=scale * beta)
    # Not a multiplication by 1 - αγ, which rounds a small αγ: see ``indian_step``.
    torch._foreach_add_(velocities, velocities, alpha=-alpha * gamma)
    torch._foreach_addcdiv_(velocities, grads, sizes, value=scale * (1 - alpha * beta))


def effective_gradients(
    params: Tensors,
    grads: Tensors,
    *,
    gamma: float | Tensor,
    weight_decay: float,
    decoupled_weight_decay: bool,
    maximize: bool,
) -> Tensors:
    """Apply the weight decay and return the gradients that the dynamics is to see.

    Args:
        params: parameters; decoupled weight decay shrinks them in place.
        grads: their gradients, left as they are.
        gamma: step size γ_k.
        weight_decay: strength of weight decay.
        decoupled_weight_decay: outside the dynamics, or added to the gradient.
        maximize: climb instead of descend.

    Returns:
        ``grads`` themselves where nothing is added to them, else new tensors.
    """
    if maximize:
        grads = torch._foreach_neg(grads)
    if weight_decay == 0:
        return grads
    if not decoupled_weight_decay:
        return list(torch._foreach_add(grads, params, alpha=weight_decay))
    if isinstance(gamma, Tensor):
        torch._foreach_mul_(params, 1 - gamma * weight_decay)
    else:
        # Not a multiplication by 1 - γ·decay: on a CPU foreach rounds a number to the parameters'
        # dtype first, which loses it in 16 bits. The friction in ``indian`` is the same.
        torch._foreach_add_(params, params, alpha=-gamma * weight_decay)
    return grads
