"""Muon for matrices, ADAMW for all other parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

__all__ = ["MuonAdamW"]

PARTS: dict[str, Callable[[list[dict[str, Any]]], Optimizer]] = {
    "matrices": torch.optim.Muon,
    "rest": torch.optim.AdamW,
}
MATRIX_RANK = 2


class MuonAdamW(Optimizer):
    """torch's Muon on the parameters with two dimensions, torch's ADAMW on the others.

    Muon moves a matrix by an approximately orthogonal matrix, its momentum with all singular values
    near 1. Kernels of convolutions have four dimensions and belong to the others. There are up to
    two groups, whose option ``part`` says which they are; schedulers drive both.

    Args:
        params: parameters, no groups.
        lr: step size of Muon, > 0.
        rest_lr: step size of ADAMW, > 0.
        momentum: of Muon, in [0, 1).
        weight_decay: decoupled, of both.

    Raises:
        InputError: groups are given.
        ValueError: torch refuses a value.

    Source: "Muon: an optimizer for hidden layers in neural networks" (Jordan et al., 2024).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.02,
        rest_lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        params = list(params)
        if not all(isinstance(param, torch.Tensor) for param in params):
            raise InputError("MuonAdamW makes its groups by shape: give it parameters, no groups")
        own = {"matrices": {"lr": lr, "momentum": momentum}, "rest": {"lr": rest_lr}}
        members: dict[str, list[Tensor]] = {part: [] for part in own}
        for param in params:
            members["matrices" if param.dim() == MATRIX_RANK else "rest"].append(param)
        groups = [
            {"params": members[part], "part": part, "weight_decay": weight_decay, **options}
            for part, options in own.items()
            if members[part]
        ]
        super().__init__(groups, {})
        self._link()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        super().__setstate__(state)
        self._link()

    def _link(self) -> None:
        """Make an optimizer for each group, which works on the group and the state of this one."""
        self._parts = [PARTS[group["part"]]([group]) for group in self.param_groups]
        for part in self._parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step.

        Args:
            closure: reevaluates the model and returns the loss.

        Returns:
            What ``closure`` returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss
