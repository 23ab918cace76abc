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

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["indian", "indian_step", "psi_form_step"]

FUSED_DEVICES = frozenset({"cpu", "cuda"})
# Not float64: the kernel is given γ(1 - αβ) as 1 minus a double near 1, which costs digits that
# only a float64 velocity has.
FUSED_DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})


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
    theta.addcmul_(velocity, gamma)
    theta.addcmul_(grad, gamma * beta, value=-1)
    velocity.mul_(1 - alpha * gamma)
    velocity.addcmul_(grad, gamma * (1 - alpha * beta), value=-1)


def indian(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    velocities: Sequence[Tensor],
    *,
    gamma: float | Tensor,
    alpha: float | Tensor,
    beta: float | Tensor,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = True,
    maximize: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
) -> None:
    """Take one step on lists of tensors; :class:`~indian_tune.optim.Indian` holds the lists.

    Args:
        params: parameters, changed in place.
        grads: their gradients, left as they are.
        velocities: their velocities, changed in place.
        gamma: step size γ_k.
        alpha: viscous friction.
        beta: Newtonian damping. With γ, α and β as 0-dimensional tensors no value leaves the
            device, so the step can be captured in a graph.
        weight_decay: strength of weight decay.
        decoupled_weight_decay: outside the dynamics, or added to the gradient.
        maximize: climb instead of descend.
        foreach: work on all tensors of a device and dtype at once; ``False`` goes tensor by
            tensor.
        fused: use torch's fused kernel wherever it applies, and ``foreach`` elsewhere; on when
            neither is given.
    """
    if fused is None:
        # A compiler fuses the foreach form by itself.
        fused = foreach is None and not torch.compiler.is_compiling()
    rule = _Rule(gamma, alpha, beta, weight_decay, decoupled_weight_decay, maximize)
    if foreach is False and not fused:
        _single_tensor(params, grads, velocities, rule)
        return
    for some_params, some_grads, some_velocities in _alike(params, grads, velocities):
        _multi_tensor(some_params, some_grads, some_velocities, rule, fused=fused)


class _Rule(NamedTuple):
    gamma: float | Tensor
    alpha: float | Tensor
    beta: float | Tensor
    weight_decay: float
    decoupled_weight_decay: bool
    maximize: bool


def _single_tensor(
    params: Sequence[Tensor], grads: Sequence[Tensor], velocities: Sequence[Tensor], rule: _Rule
) -> None:
    gamma, alpha, beta, weight_decay, decoupled, maximize = rule
    for theta, grad, velocity in zip(params, grads, velocities, strict=True):
        descent = -grad if maximize else grad
        if weight_decay != 0:
            if not decoupled:
                descent = descent.add(theta, alpha=weight_decay)
            elif isinstance(gamma, Tensor):
                theta.mul_(1 - gamma * weight_decay)
            else:
                theta.add_(theta, alpha=-gamma * weight_decay)
        if isinstance(gamma, Tensor) or isinstance(alpha, Tensor) or isinstance(beta, Tensor):
            gammas, alphas, betas = (torch.as_tensor(x, device=theta.device) for x in rule[:3])
            indian_step(theta, velocity, descent, gammas, alphas, betas)
        else:
            theta.add_(velocity, alpha=gamma).add_(descent, alpha=-gamma * beta)
            velocity.add_(velocity, alpha=-alpha * gamma)
            velocity.add_(descent, alpha=-gamma * (1 - alpha * beta))


def _multi_tensor(
    params: list[Tensor],
    grads: list[Tensor],
    velocities: list[Tensor],
    rule: _Rule,
    *,
    fused: bool,
) -> None:
    gamma, alpha, beta, weight_decay, decoupled, maximize = rule
    if maximize:
        grads = list(torch._foreach_neg(grads))
    if weight_decay != 0:
        if not decoupled:
            grads = list(torch._foreach_add(grads, params, alpha=weight_decay))
        elif isinstance(gamma, Tensor):
            torch._foreach_mul_(params, 1 - gamma * weight_decay)
        else:
            # Not a multiplication by 1 - γ·decay: on a CPU foreach rounds a number to the
            # parameters' dtype first, which loses it in 16 bits. The friction below is the same.
            torch._foreach_add_(params, params, alpha=-gamma * weight_decay)
    if isinstance(gamma, Tensor) or isinstance(alpha, Tensor) or isinstance(beta, Tensor):
        # A foreach addition takes its factor as a number only, hence the temporaries.
        torch._foreach_add_(params, torch._foreach_mul(velocities, gamma))
        torch._foreach_add_(params, torch._foreach_mul(grads, -gamma * beta))
        torch._foreach_mul_(velocities, 1 - alpha * gamma)
        torch._foreach_add_(velocities, torch._foreach_mul(grads, -gamma * (1 - alpha * beta)))
    elif fused and _fusable(params, grads, velocities, alpha * gamma):
        _fused(params, grads, velocities, gamma, alpha, beta)
    else:
        torch._foreach_add_(params, velocities, alpha=gamma)
        torch._foreach_add_(params, grads, alpha=-gamma * beta)
        torch._foreach_add_(velocities, velocities, alpha=-alpha * gamma)
        torch._foreach_add_(velocities, grads, alpha=-gamma * (1 - alpha * beta))


def _fused(
    params: list[Tensor],
    grads: list[Tensor],
    velocities: list[Tensor],
    gamma: float,
    alpha: float,
    beta: float,
) -> None:
    """Take the step in two passes over memory instead of four.

    The fused kernel of SGD computes b ← μb + (1 - τ)g and θ ← θ - ηb in one pass, but with the
    new b where INDIAN wants the old one. Solving the velocity update for the old velocity,

        γv = γ/(1 - αγ) v' + γ²(1 - αβ)/(1 - αγ) g,

    turns θ' = θ + γ(v - βg) into θ' = θ + γ/(1 - αγ) v' - γ(β - γ)/(1 - αγ) g.
    """
    keep = 1 - alpha * gamma
    torch._foreach_add_(params, grads, alpha=-gamma * (beta - gamma) / keep)
    torch._fused_sgd_(
        params,
        grads,
        velocities,
        weight_decay=0.0,
        momentum=keep,
        lr=-gamma / keep,
        dampening=1 + gamma * (1 - alpha * beta),
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def _fusable(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    velocities: Sequence[Tensor],
    forgetting: float,
) -> bool:
    """Say whether the fused kernel computes this step, and as precisely as the others.

    ``forgetting`` is αγ: the division by 1 - αγ must not amplify rounding. The kernel walks
    through memory, so the three tensors of a parameter must be laid out alike; a velocity is
    always dense, hence so is what has its strides.
    """
    return (
        forgetting <= 0.5
        and params[0].device.type in FUSED_DEVICES
        and params[0].dtype in FUSED_DTYPES
        and all(
            _laid_out_alike(theta, grad) and _laid_out_alike(theta, velocity)
            for theta, grad, velocity in zip(params, grads, velocities, strict=True)
        )
    )


def _laid_out_alike(one: Tensor, other: Tensor) -> bool:
    if one.stride() == other.stride():
        return True
    # A dimension of size 1, as in a 1x1 convolution, has a stride but is never walked along.
    return all(
        mine == theirs
        for size, mine, theirs in zip(one.shape, one.stride(), other.stride(), strict=True)
        if size > 1
    )


def _alike(
    params: Sequence[Tensor], grads: Sequence[Tensor], velocities: Sequence[Tensor]
) -> Iterator[tuple[list[Tensor], list[Tensor], list[Tensor]]]:
    """Yield the tensors in lists of one device and dtype each."""
    groups: dict[
        tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor], list[Tensor]]
    ] = {}
    for triple in zip(params, grads, velocities, strict=True):
        group = groups.setdefault((triple[0].device, triple[0].dtype), ([], [], []))
        for members, tensor in zip(group, triple, strict=True):
            members.append(tensor)
    yield from groups.values()
