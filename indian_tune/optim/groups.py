"""The step that the package's own optimizers share: one group of parameters after the other."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, overload

import torch
from torch.optim import Optimizer

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["GroupedOptimizer"]


class GroupedOptimizer(Optimizer):
    """An optimizer that steps each of its groups by itself, on dense gradients."""

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step.

        Args:
            closure: reevaluates the model and returns the loss.

        Returns:
            What ``closure`` returned.

        Raises:
            InputError: a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    @abstractmethod
    def _step_group(self, group: dict[str, Any]) -> None: ...

    def _with_gradients(self, group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the parameters of a group that have a gradient, and their gradients."""
        params = [param for param in group["params"] if param.grad is not None]
        for param in params:
            if param.grad.is_sparse:
                raise InputError(
                    f"{type(self).__name__} takes dense gradients only, got a sparse one for a "
                    f"parameter of shape {tuple(param.shape)}; build its layer with sparse=False"
                )
        return params, [param.grad for param in params]
