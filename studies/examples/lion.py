"""An optimizer of one's own: Lion, written as any optimizer of torch.

A study file names it as ``optimizer = "lion:Lion"``; what its arm searches is passed by name, with
``gamma0`` as ``lr``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim.optimizer import ParamsT


class Lion(Optimizer):
    """Moves every parameter by the sign of an interpolation between momentum and gradient.

    X. Chen et al., Symbolic Discovery of Optimization Algorithms, NeurIPS 2023, Algorithm 2:

        θ ← θ − γ (sign(β₁ m + (1 − β₁) g) + λ θ),    m ← β₂ m + (1 − β₂) g

    Args:
        params: parameters, or groups of them.
        lr: step size γ; a tenth of ADAM's or less.
        beta1: weight of the momentum in the step.
        beta2: decay of the momentum.
        weight_decay: λ, decoupled.

    Raises:
        ValueError: a value is out of its range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-4,
        beta1: float = 0.9,
        beta2: float = 0.99,
        weight_decay: float = 0.0,
    ) -> None:
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name} = {beta} must lie in [0, 1)")
        defaults = {"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        # What is kept here is in the checkpoints: tensors and plain values only.
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"]
        direction = momentum.lerp(gradient, 1 - group["beta1"]).sign_()
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-group["lr"])
        momentum.lerp_(gradient, 1 - group["beta2"])
