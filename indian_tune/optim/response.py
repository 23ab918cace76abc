r"""SGD that makes the steps that INDIAN makes on a steady gradient.

Started at rest, INDIAN moves θ on a gradient that stays 1 by

.. math::
    s_k = \gamma_k (\beta + w_k), \qquad
    w_{k+1} = (1 - \alpha\gamma_k) w_k + \gamma_k (1 - \alpha\beta), \qquad w_0 = 0,

under any schedule :math:`\gamma_k`; with ``initial_velocity`` s, :math:`w_0 = s - \beta`. The
memory w is a function of the hyperparameters and the number of steps, not of the gradients.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.optim.groups import GroupedOptimizer
from indian_tune.optim.hyperparameters import ALPHA, BETA, GAMMA0, LEVEL
from indian_tune.optim.schedules import decay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.optim.optimizer import ParamsT

__all__ = ["ResponseSgd", "memory_after"]


def memory_after(options: Mapping[str, Any], steps: int, factor: Callable[[int], float]) -> float:
    """Return w_k for k = ``steps``, by the recursion in float64.

    Args:
        options: ``lr``, ``alpha``, ``beta`` and ``initial_velocity``, as :class:`ResponseSgd` takes
            them.
        steps: taken before, at least 0.
        factor: returns γ_k / γ0 for a step k.
    """
    memory = _start(options)
    for step in range(steps):
        gamma = options["lr"] * factor(step)
        memory = _next_memory(memory, gamma, options["alpha"], options["beta"])
    return memory


class ResponseSgd(GroupedOptimizer):
    r"""SGD with step sizes m s_k: a level m times INDIAN's response to a steady gradient.

    At m = 1 and αβ = 1, where s_k = βγ_k, it is what INDIAN is.

    Args:
        params: parameters, or groups of them.
        lr: γ0 > 0.
        alpha: viscous friction α > 0.
        beta: Newtonian damping β > 0.
        level: m > 0.
        decay_power: a in γ_k = γ0 (k + 1)^(-a), in [0, 1]; with 0, torch's schedulers drive γ_k.
        weight_decay: strength of weight decay, >= 0.
        decoupled_weight_decay: if true, θ shrinks by γ_k · ``weight_decay`` · θ in each step, as
            under INDIAN and whatever the level; if false, ``weight_decay`` · θ joins the gradient.
        initial_velocity: s of INDIAN's start v_0 = (β - s) g_0; ``None`` for v_0 = 0.

    Raises:
        HyperparameterError: an option is out of range, at construction or in
            :meth:`add_param_group`.
        InputError: a gradient is sparse (in :meth:`step`).
    """

    _checked = (replace(GAMMA0, name="lr"), ALPHA, BETA, LEVEL)

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.1,
        alpha: float = 0.5,
        beta: float = 0.1,
        *,
        level: float = 1.0,
        decay_power: float = 0.5,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        initial_velocity: float | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "beta": beta,
            "level": level,
            "decay_power": decay_power,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "initial_velocity": initial_velocity,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, whose steps are counted from here."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["step"], group["memory"] = 0, _start(group)

    def _step_group(self, group: dict[str, Any]) -> None:
        alpha, beta, memory = group["alpha"], group["beta"], group["memory"]
        gamma = group["lr"] * decay(group["step"], group["decay_power"])
        params, grads = self._with_gradients(group)
        if params:
            seen = self._effective_gradients(group, params, grads, gamma)
            rate = group["level"] * (gamma * (beta + memory))
            torch._foreach_add_(params, seen, alpha=-rate)
        group["memory"] = _next_memory(memory, gamma, alpha, beta)
        group["step"] += 1


def _start(options: Mapping[str, Any]) -> float:
    start: float | None = options["initial_velocity"]
    return 0.0 if start is None else start - float(options["beta"])


def _next_memory(memory: float, gamma: float, alpha: float, beta: float) -> float:
    return (1 - alpha * gamma) * memory + gamma * (1 - alpha * beta)
