"""Base of the package's optimizers: checked parameter groups, and a step over them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, overload

import torch
from torch.optim import Optimizer

from indian_tune.errors import InputError
from indian_tune.optim.checks import as_number, check_real, check_state
from indian_tune.optim.functional import effective_gradients

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from indian_tune.optim.functional import Tensors
    from indian_tune.optim.hyperparameters import Hyperparameter

__all__ = ["GroupedOptimizer"]


class GroupedOptimizer(Optimizer):
    """An optimizer that steps each of its groups by itself, on dense gradients."""

    # The options of a group that are checked when it is added.
    _checked: ClassVar[tuple[Hyperparameter, ...]] = ()
    # Options of other optimizers, by which a state with all of the own ones is known to be theirs.
    _foreign: ClassVar[tuple[str, ...]] = ()
    # Whether complex parameters are refused.
    _real: ClassVar[bool] = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a state.

        Raises:
            InputError: it is the state of another optimizer; nothing is changed.
        """
        names = [each.name for each in self._checked]
        check_state(state, type(self).__name__, names, self._foreign)
        super().__setstate__(state)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, whose options are checked like the constructor's.

        Raises:
            HyperparameterError: an option is out of range.
            InputError: a parameter is complex, and the optimizer is for real ones only.
        """
        options, owner = {**self.defaults, **param_group}, type(self).__name__
        for hyperparameter in self._checked:
            name = hyperparameter.name
            hyperparameter.check(as_number(name, options[name]), owner=owner)
        super().add_param_group(param_group)
        if self._real:
            try:
                check_real(self.param_groups[-1]["params"], owner)
            except InputError:
                self.param_groups.pop()
                raise

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
                    f"{type(self).__name__} accepts dense gradients only, got a sparse one for a "
                    f"parameter of shape {tuple(param.shape)}: build its layer with sparse=False"
                )
        return params, [param.grad for param in params]

    def _effective_gradients(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        gamma: float | Tensor,
    ) -> Tensors:
        """Apply the weight decay of a group to its parameters and gradients."""
        return effective_gradients(
            params,
            grads,
            gamma=gamma,
            weight_decay=group["weight_decay"],
            decoupled_weight_decay=group["decoupled_weight_decay"],
            maximize=group.get("maximize", False),
        )

    def _buffers(self, name: str, params: list[Tensor]) -> list[Tensor]:
        """Return a state of each parameter, of its shape; 0 before the first step."""
        for param in params:
            state = self.state[param]
            if name not in state:
                state[name] = torch.zeros_like(param, memory_format=torch.preserve_format)
        return [self.state[param][name] for param in params]
