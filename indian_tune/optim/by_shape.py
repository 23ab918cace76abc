"""One optimizer for matrices and another one for all other parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    Maker = Callable[[list[Tensor]], Optimizer]

__all__ = ["ByShape"]

MATRIX_RANK = 2


class ByShape(Optimizer):
    """Two optimizers as one: the first has the parameters with two dimensions, the other the rest.

    Its groups are those of the two, with their name as the option ``part``, and schedulers drive
    both. An optimizer without parameters is not made.

    Args:
        params: parameters, no groups.
        matrices: makes the optimizer of the parameters with two dimensions.
        rest: makes the optimizer of all others.

    Attributes:
        parts: the optimizers by ``matrices`` and ``rest``.

    Raises:
        InputError: groups are given.
    """

    parts: dict[str, Optimizer]

    def __init__(self, params: Iterable[Tensor], *, matrices: Maker, rest: Maker) -> None:
        params = list(params)
        if not all(isinstance(param, torch.Tensor) for param in params):
            raise InputError(
                f"{type(self).__name__} makes its groups by shape: give parameters, not groups"
            )
        members: dict[str, list[Tensor]] = {"matrices": [], "rest": []}
        for param in params:
            members["matrices" if param.dim() == MATRIX_RANK else "rest"].append(param)
        makers = {"matrices": matrices, "rest": rest}
        self.parts = {part: makers[part](own) for part, own in members.items() if own}
        for part, optimizer in self.parts.items():
            for group in optimizer.param_groups:
                group["part"] = part
        super().__init__([g for each in self.parts.values() for g in each.param_groups], {})
        self._link()

    def _link(self) -> None:
        """Share groups and states with the parts."""
        self.param_groups[:] = [g for each in self.parts.values() for g in each.param_groups]
        for part in self.parts.values():
            self.state.update(part.state)
            part.state = self.state

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of."""
        return {**super().__getstate__(), "parts": self.parts}

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the parts by their names."""
        found = {}
        for name, part in self.parts.items():
            own = {param for group in part.param_groups for param in group["params"]}
            part.state = type(self.state)(
                self.state.default_factory,
                {param: state for param, state in self.state.items() if param in own},
            )
            found[name] = part.state_dict()
            part.state = self.state
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state of the same parts."""
        self.state.clear()
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._link()

    def train(self) -> None:
        """Bring parts that are measured at other weights to those they train at."""
        for part in self.parts.values():
            getattr(part, "train", _nothing)()

    def eval(self) -> None:
        """Bring parts that are measured at other weights to those."""
        for part in self.parts.values():
            getattr(part, "eval", _nothing)()

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
        for part in self.parts.values():
            part.step()
        return loss


def _nothing() -> None: ...
