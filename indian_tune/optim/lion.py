"""Lion, which moves every parameter by the sign of its momentum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.optim.groups import GroupedOptimizer
from indian_tune.optim.hyperparameters import GAMMA0, MOMENTUM, WEIGHT_DECAY

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim.optimizer import ParamsT

__all__ = ["Lion"]


class Lion(GroupedOptimizer):
    r"""Lion (evolved sign momentum).

    .. math::
       \begin{aligned}
            \theta_{k+1} &= \theta_k
                - \gamma_k \operatorname{sign}(\beta_1 m_k + (1 - \beta_1) g_k)             \\
            m_{k+1}      &= \beta_2 m_k + (1 - \beta_2) g_k, \qquad m_0 = 0
       \end{aligned}

    Args:
        params: parameters, or groups that may differ in every option below.
        lr: step size > 0, the distance that every element moves in a step; a number or a tensor of
            one element.
        beta1: weight of the momentum in the step, in [0, 1).
        beta2: decay of the momentum, in [0, 1).
        weight_decay: strength of weight decay, >= 0.
        decoupled_weight_decay: if true, as published, θ shrinks by step size · ``weight_decay`` · θ
            in each step; if false, ``weight_decay`` · θ is added to the gradient.

    Raises:
        HyperparameterError: an option is out of range, at construction or in
            :meth:`add_param_group`.
        InputError: a parameter is complex, or (in :meth:`step`) a gradient is sparse.

    Source: algorithm 2 of "Symbolic discovery of optimization algorithms" (Chen et al., 2023).
    """

    _checked = (
        replace(GAMMA0, name="lr"),
        replace(MOMENTUM, name="beta1"),
        replace(MOMENTUM, name="beta2"),
        WEIGHT_DECAY,
    )
    # torch.sign has no complex form.
    _real = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        *,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _step_group(self, group: dict[str, Any]) -> None:
        params, grads = self._with_gradients(group)
        if not params:
            return
        gamma = float(group["lr"])
        momenta = self._buffers("momentum", params)
        seen = self._effective_gradients(group, params, grads, gamma)
        moves = torch._foreach_lerp(momenta, seen, 1 - group["beta1"])
        torch._foreach_sign_(moves)
        torch._foreach_add_(params, moves, alpha=-gamma)
        torch._foreach_lerp_(momenta, seen, 1 - group["beta2"])
