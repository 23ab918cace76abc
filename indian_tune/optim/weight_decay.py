"""Decoupled weight decay for torch optimizers that have only coupled weight decay."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["decouple"]


def decouple(optimizer: Optimizer, weight_decay: float) -> None:
    """Let every step of ``optimizer`` first shrink θ by step size · ``weight_decay`` · θ.

    Only parameters with a gradient shrink, with their group's present ``lr``. The shrinking is a
    hook, which a ``state_dict`` does not hold: decouple a rebuilt optimizer again.
    """
    optimizer.register_step_pre_hook(partial(_shrink, weight_decay))


@torch.no_grad()
def _shrink(
    weight_decay: float, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    del args, kwargs
    for group in optimizer.param_groups:
        params = [param for param in group["params"] if param.grad is not None]
        if params:
            torch._foreach_add_(params, params, alpha=-group["lr"] * weight_decay)
