"""INDIAN's step in one pass over memory, by torch's fused kernel of SGD.

With momentum μ, damping τ and Nesterov's correction that kernel computes

    b' = μ b + (1 - τ) g
    θ' = θ - η (g + μ b')

which reads and writes each float once. INDIAN's step has this form for b = c·v, a velocity in
units of its own: eliminating the old velocity from θ' = θ + γ(v - βg) gives

    θ' = θ - η g + γ/(1 - αγ) v',    η = γ (β - γ)/(1 - αγ),

so the scale c' after the step must satisfy μc' = -1/(β - γ), the recursion of v asks for
μc = (1 - αγ)c', and together they determine μ and c' from the scale c before the step. At constant
γ, α and β the scale settles where μ = 1 - αγ.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = list[Tensor] | tuple[Tensor, ...]

__all__ = ["can_fuse", "fused_step"]

DEVICES = frozenset({"cpu", "cuda"})
# Not float64: the kernel is given 1 - τ as 1 minus a double near 1, which costs digits that only
# float64 has. Not float16: the scale may take it out of its range.
DTYPES = frozenset({torch.float32, torch.bfloat16})
# A subclass may hold its memory in other ways, or in several places.
PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
# Beyond, the division by 1 - αγ begins to amplify rounding.
LARGEST_FORGETTING = 0.5
# The scale is infinite at β = γ; this bounds it.
NEAREST = 1e-3


def can_fuse(
    params: Tensors,
    grads: Tensors,
    velocities: Tensors,
    *,
    gamma: float,
    alpha: float,
    beta: float,
) -> bool:
    """Say whether :func:`fused_step` computes this step, and as precisely as other ways.

    It needs αγ <= 1/2, γ not within 0.1 % of β, and plain float32 or bfloat16 tensors, all of one
    dtype and one device (a CPU or a CUDA device); not, for example, the sharded tensors of FSDP.
    The kernel walks through memory, so the three tensors of a parameter must be laid out alike and
    dense; a velocity always is, hence so is what has its strides.
    """
    device, dtype = params[0].device, params[0].dtype
    if not (
        alpha * gamma <= LARGEST_FORGETTING
        and abs(gamma - beta) > NEAREST * beta
        and device.type in DEVICES
        and dtype in DTYPES
        # A network that was moved leaves its velocities behind, all of them.
        and velocities[0].device == device
    ):
        return False
    # Part of every step, and for small networks as long as the kernel itself: a plain loop.
    for theta, grad, velocity in zip(params, grads, velocities, strict=True):
        if type(theta) not in PLAIN or theta.device != device:
            return False
        if theta.dtype is not dtype or grad.dtype is not dtype or velocity.dtype is not dtype:
            return False
        ours, theirs = theta.stride(), grad.stride()
        if ours != theirs and not _alike(theta.shape, ours, theirs):
            return False
        theirs = velocity.stride()
        if ours != theirs and not _alike(theta.shape, ours, theirs):
            return False
    return True


def fused_step(
    params: Tensors,
    grads: Tensors,
    scaled_velocities: Tensors,
    *,
    scale: float,
    gamma: float,
    alpha: float,
    beta: float,
) -> float:
    """Take one step in place.

    Args:
        params: parameters, changed in place.
        grads: their gradients, left as they are.
        scaled_velocities: their velocities times ``scale``, changed in place.
        scale: c before the step, not 0.
        gamma: step size γ_k.
        alpha: viscous friction.
        beta: Newtonian damping.

    Returns:
        The scale c' that the velocities have after the step.
    """
    keep = 1 - alpha * gamma
    product = -1 / (beta - gamma)
    if scale * product < 0:
        torch._foreach_neg_(scaled_velocities)
        scale = -scale
    # The kernel works with μ in single precision; the new scale takes up what that leaves, or the
    # friction would be off by as much in every step.
    momentum = _to_single(math.sqrt(product * keep / scale))
    scale *= momentum / keep
    torch._fused_sgd_(
        params,
        grads,
        scaled_velocities,
        weight_decay=0.0,
        momentum=momentum,
        lr=gamma * (beta - gamma) / keep,
        dampening=1 + scale * gamma * (1 - alpha * beta),
        nesterov=True,
        maximize=False,
        is_first_step=False,
    )
    return scale


def _to_single(value: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


@lru_cache(maxsize=4096)
def _alike(shape: torch.Size, ours: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    # A dimension of size 1, as in a 1x1 convolution, has a stride but is never walked along.
    return all(
        mine == other for size, mine, other in zip(shape, ours, theirs, strict=True) if size > 1
    )
