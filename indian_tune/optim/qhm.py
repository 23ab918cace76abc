"""Quasi-hyperbolic momentum, the family that INDIAN belongs to at a constant step size."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.optim.groups import GroupedOptimizer
from indian_tune.optim.hyperparameters import GAMMA0, MOMENTUM, NU, WEIGHT_DECAY

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim.optimizer import ParamsT

__all__ = ["Qhm"]


class Qhm(GroupedOptimizer):
    r"""Quasi-hyperbolic momentum (QHM).

    .. math::
       \begin{aligned}
            b_{k+1}      &= \mu b_k + (1 - \mu) g_k, \qquad b_0 = 0                     \\
            \theta_{k+1} &= \theta_k - \gamma_k [(1 - \nu) g_k + \nu b_{k+1}]
       \end{aligned}

    ν = 0 is plain SGD, ν = 1 heavy ball, ν = μ Nesterov, both with damped momentum: the learning
    rate is the effective one. INDIAN at a constant step size γ is QHM with learning rate γ/α,
    momentum 1 - αγ and ν = (1 - αβ)/(1 - αγ).

    Args:
        params: parameters, or groups that may differ in every option below.
        lr: learning rate > 0, a number or a tensor of one element.
        momentum: μ in [0, 1).
        nu: weight ν of the momentum against the gradient, any finite number; the published
            algorithm has it in [0, 1].
        weight_decay: multiple of θ added to the gradient, >= 0.

    Raises:
        HyperparameterError: an option is out of range, at construction or in
            :meth:`add_param_group`.
        InputError: a gradient is sparse (in :meth:`step`).

    Source: algorithm 1 of "Quasi-hyperbolic momentum and Adam for deep learning" (Ma and Yarats,
    2019).
    """

    _checked = (replace(GAMMA0, name="lr"), MOMENTUM, NU, WEIGHT_DECAY)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.1,
        momentum: float = 0.999,
        nu: float = 0.7,
        *,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "nu": nu, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def _step_group(self, group: dict[str, Any]) -> None:
        params, grads = self._with_gradients(group)
        if not params:
            return
        buffers = self._buffers("buffer", params)
        if group["weight_decay"] != 0:
            grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
        lr, nu = float(group["lr"]), group["nu"]
        torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        torch._foreach_add_(params, grads, alpha=-lr * (1 - nu))
        torch._foreach_add_(params, buffers, alpha=-lr * nu)
