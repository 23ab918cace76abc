"""INNAprop, INDIAN on gradients that are scaled as in RMSprop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.optim.functional import innaprop
from indian_tune.optim.groups import GroupedOptimizer
from indian_tune.optim.hyperparameters import GAMMA0, INNAPROP

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim.optimizer import ParamsT

__all__ = ["Innaprop"]


class Innaprop(GroupedOptimizer):
    r"""INNAprop: the inertial Newton algorithm with the adaptive scaling of RMSprop.

    .. math::
       \begin{aligned}
            m_{k+1}      &= \sigma m_k + (1 - \sigma) g_k^2, \qquad
                \hat g_k = g_k \big/ \bigl(\sqrt{m_{k+1} / (1 - \sigma^{k+1})} + \epsilon\bigr) \\
            \theta_{k+1} &= \theta_k + \gamma_k (v_k - \beta \hat g_k)                          \\
            v_{k+1}      &= (1 - \alpha\gamma_k) v_k
                - \gamma_k (1 - \alpha\beta) \hat g_k, \qquad m_0 = v_0 = 0
       \end{aligned}

    This is the published recursion with v = (1/β - α)θ - ψ/β in place of its phase variable ψ, as
    in :class:`indian_tune.Indian`. It does not divide by β - γ_k, which the published form does:
    the paper asks for γ_k < β, beyond which the method is less stable but defined. At αβ = 1 it is
    RMSprop, its mean of squares corrected for the start at 0, with step size βγ_k.

    Args:
        params: parameters, or groups that may differ in every option below.
        lr: γ0 > 0, a number or a tensor of one element; torch's schedulers drive it.
        alpha: viscous friction α > 0.
        beta: Newtonian damping β > 0.
        sigma: σ in [0, 1), decay of the mean of squared gradients.
        eps: ε > 0, keeps the denominator from 0.
        weight_decay: strength of weight decay, >= 0.
        decoupled_weight_decay: if true, θ shrinks by γ_k · ``weight_decay`` · θ in each step,
            outside the dynamics; if false, ``weight_decay`` · θ is added to the gradient. The
            published algorithm shrinks θ but not ψ, so that every shrinkage also changes the
            velocity and moves θ by 1/(αβ) times itself in the end: a published strength λ
            corresponds to λ/(αβ) here.

    Raises:
        HyperparameterError: an option is out of range, at construction or in
            :meth:`add_param_group`.
        InputError: a parameter is complex, or (in :meth:`step`) a gradient is sparse.

    Source: algorithm 1 of "A second-order-like optimizer with adaptive gradient scaling for deep
    learning" (Bolte, Boustany, Pauwels and Purica, 2024).
    """

    _checked = (replace(GAMMA0, name="lr"), *INNAPROP)
    # The mean of squares would take |g|² apart.
    _real = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        alpha: float = 0.1,
        beta: float = 0.9,
        *,
        sigma: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "beta": beta,
            "sigma": sigma,
            "eps": eps,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _step_group(self, group: dict[str, Any]) -> None:
        params, grads = self._with_gradients(group)
        # The correction of the mean of squares counts the steps of each parameter.
        alike: dict[float, tuple[list[Tensor], list[Tensor]]] = {}
        for param, grad in zip(params, grads, strict=True):
            state = self.state[param]
            if not state:
                state["step"] = torch.tensor(0.0)
            state["step"] += 1
            members = alike.setdefault(state["step"].item(), ([], []))
            members[0].append(param)
            members[1].append(grad)
        for step, members in alike.items():
            self._move(group, *members, step)

    def _move(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], step: float
    ) -> None:
        gamma = float(group["lr"])
        seen = self._effective_gradients(group, params, grads, gamma)
        innaprop(
            params,
            seen,
            self._buffers("velocity", params),
            self._buffers("square", params),
            step=step,
            gamma=gamma,
            alpha=group["alpha"],
            beta=group["beta"],
            sigma=group["sigma"],
            eps=group["eps"],
        )
