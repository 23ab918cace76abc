"""The steps of every family for K runs at once: parameters of shape [K, N], one run a row.

Each row has hyperparameters and a step count of its own, as tensors on the device, so that no
value leaves it and a step can be captured in a graph. Nothing crosses between rows. The rows
compute what the family's own optimizer computes, up to rounding, and their states can be exchanged
with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from indian_tune.errors import HyperparameterError, unknown_name
from indian_tune.optim.functional import indian_step
from indian_tune.optim.indian import Indian
from indian_tune.optim.schedules import decay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

__all__ = ["StackedOptimizer", "Structure", "read_state", "stackable", "write_state"]

Numbers = dict[str, Tensor]


@dataclass(frozen=True)
class Structure:
    """What decides which operations a step consists of; equal for all rows of a stack.

    Attributes:
        family: name of the family.
        decay: ``"none"``, ``"decoupled"`` or ``"coupled"`` weight decay.
        initial_velocity: whether INDIAN starts with a velocity.
    """

    family: str
    decay: str
    initial_velocity: bool

    @classmethod
    def of(cls, family: str, config: Mapping[str, float]) -> Structure:
        """Return the structure of a complete configuration."""
        decay = "none"
        if config.get("weight_decay", 0.0) != 0:
            # A family without the choice, as AdamW, is of the decoupled kind.
            decay = "decoupled" if config.get("decoupled_weight_decay", 1.0) else "coupled"
        return cls(family, decay, "initial_velocity" in config)


class StackedOptimizer:
    """K optimizers of one structure, a row each.

    Args:
        structure: of all rows.
        params: [K, N], changed in place by every step.

    Attributes:
        states: by the name that the family's own optimizer gives them, each of ``params``' shape.

    Raises:
        HyperparameterError: the family cannot be stacked.
    """

    def __init__(self, structure: Structure, params: Tensor) -> None:
        if not stackable(structure.family):
            raise HyperparameterError(unknown_name("stackable optimizer", structure.family, _RULES))
        self._structure = structure
        self._params = params
        self._rule = _RULES[structure.family]
        self.states = {name: torch.zeros_like(params) for name in self._rule.states}
        self._count = params.new_zeros((params.shape[0], 1), dtype=torch.float64)
        self._numbers: Numbers = {
            name: torch.zeros_like(self._count) for name in ("gamma0", "decay_power")
        }
        names = self._rule.numbers
        if structure.decay != "none":
            names += ("weight_decay",)
        if structure.initial_velocity:
            names += ("initial_velocity",)
        self._numbers |= {name: torch.zeros_like(self._count) for name in names}

    def set_row(self, row: int, config: Mapping[str, float], count: int) -> None:
        """Give a row its hyperparameters and the number of steps it has taken.

        Args:
            row: 0 … K - 1.
            config: complete, of this stack's structure.
            count: steps taken.
        """
        assert Structure.of(self._structure.family, config) == self._structure
        for name, numbers in self._numbers.items():
            numbers[row] = config[name]
        self._count[row] = count

    def clear_row(self, row: int) -> None:
        """Let a row stand still: no step size, states of 0."""
        for numbers in self._numbers.values():
            numbers[row] = 0
        for state in self.states.values():
            state[row] = 0
        self._count[row] = 0

    @torch.no_grad()
    def step(self, grads: Tensor) -> None:
        """Take one step in every row.

        Args:
            grads: [K, N], left as they are.
        """
        params, numbers = self._params, self._numbers
        gamma = numbers["gamma0"] * (self._count + 1) ** -numbers["decay_power"]
        if self._structure.decay == "decoupled":
            shrinkage = (gamma * numbers["weight_decay"]).to(params.dtype)
            params.addcmul_(params, shrinkage, value=-1)
        elif self._structure.decay == "coupled":
            grads = grads.addcmul(params, numbers["weight_decay"].to(params.dtype))
        if self._structure.initial_velocity:
            share = (numbers["beta"] - numbers["initial_velocity"]).to(params.dtype)
            velocity = self.states["velocity"]
            velocity.copy_(torch.where(self._count == 0, share * grads, velocity))
        self._rule.step(params, grads, self.states, {**numbers, "gamma": gamma}, self._count)
        self._count += 1


def stackable(family: str) -> bool:
    """Say whether the family has a step for K runs at once."""
    return family in _RULES


def read_state(optimizer: Optimizer, param: Tensor, name: str) -> Tensor | None:
    """Return a state of the family's own optimizer; ``None`` while it has none.

    Args:
        optimizer: the family's own.
        param: one of its parameters.
        name: a key of :attr:`StackedOptimizer.states`.
    """
    if param not in optimizer.state:
        return None
    if isinstance(optimizer, Indian):
        return optimizer.velocity(param)
    state: Tensor | None = optimizer.state[param].get(name)
    return state


@torch.no_grad()
def write_state(
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    states: Mapping[Tensor, Mapping[str, Tensor]],
    *,
    config: Mapping[str, float],
    count: int,
) -> None:
    """Bring the family's own optimizer to where a row of a stack is.

    Args:
        optimizer: the family's own, with one group of parameters.
        scheduler: its schedule, if it has one.
        states: of each trained parameter by name, of the parameter's shape.
        config: complete.
        count: steps taken, at least 1.
    """
    (group,) = optimizer.param_groups
    for param, values in states.items():
        state = optimizer.state[param]
        for name, value in values.items():
            if state.get(name) is None:
                state[name] = torch.empty_like(param, memory_format=torch.preserve_format)
            state[name].copy_(value)
        if _RULES_WITH_COUNTS.intersection(values):
            state["step"] = torch.tensor(float(count))
    if isinstance(optimizer, Indian):
        group["step"], group["velocity_scale"] = count, 1.0
    if scheduler is not None:
        group["lr"] = config["gamma0"] * decay(count, config["decay_power"])
        moved: dict[str, object] = {
            "last_epoch": count,
            "_step_count": count + 1,
            "_last_lr": [group["lr"]],
        }
        scheduler.load_state_dict({**moved, "lr_lambdas": [None]})


@dataclass(frozen=True)
class _Rule:
    """A family's step.

    ``step`` takes parameters, gradients, states, hyperparameters (float64 [K, 1], with the present
    step size as ``gamma``) and counts (float64 [K, 1], 0 in the first step).
    """

    states: tuple[str, ...]
    numbers: tuple[str, ...]
    step: Callable[[Tensor, Tensor, dict[str, Tensor], Numbers, Tensor], None]


def _step_indian(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], numbers: Numbers, count: Tensor
) -> None:
    del count
    scalars = (numbers[name].to(params.dtype) for name in ("gamma", "alpha", "beta"))
    indian_step(params, states["velocity"], grads, *scalars)


def _step_sgd(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], numbers: Numbers, count: Tensor
) -> None:
    del states, count
    params.addcmul_(grads, numbers["gamma"].to(params.dtype), value=-1)


def _step_momentum(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], numbers: Numbers, count: Tensor
) -> None:
    del count
    buffer = states["momentum_buffer"]
    buffer.mul_(numbers["momentum"].to(params.dtype)).add_(grads)
    params.addcmul_(buffer, numbers["gamma"].to(params.dtype), value=-1)


def _step_nesterov(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], numbers: Numbers, count: Tensor
) -> None:
    del count
    buffer, momentum = states["momentum_buffer"], numbers["momentum"].to(params.dtype)
    buffer.mul_(momentum).add_(grads)
    ahead = grads.addcmul(buffer, momentum)
    params.addcmul_(ahead, numbers["gamma"].to(params.dtype), value=-1)


def _step_qhm(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], numbers: Numbers, count: Tensor
) -> None:
    del count
    gamma, nu = numbers["gamma"], numbers["nu"]
    buffer = states["buffer"].lerp_(grads, (1 - numbers["momentum"]).to(params.dtype))
    params.addcmul_(grads, (gamma * (1 - nu)).to(params.dtype), value=-1)
    params.addcmul_(buffer, (gamma * nu).to(params.dtype), value=-1)


def _step_adagrad(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], numbers: Numbers, count: Tensor
) -> None:
    del count
    total = states["sum"].addcmul_(grads, grads)
    size = total.sqrt().add_(numbers["eps"].to(params.dtype))
    params.addcdiv_(grads * numbers["gamma"].to(params.dtype), size, value=-1)


def _step_adam(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], numbers: Numbers, count: Tensor
) -> None:
    beta1, beta2 = numbers["beta1"], numbers["beta2"]
    mean = states["exp_avg"].lerp_(grads, (1 - beta1).to(params.dtype))
    square = states["exp_avg_sq"].mul_(beta2.to(params.dtype))
    square.addcmul_(grads * (1 - beta2).to(params.dtype), grads)
    correction = (1 - beta2 ** (count + 1)).sqrt().to(params.dtype)
    size = square.sqrt().div_(correction).add_(numbers["eps"].to(params.dtype))
    length = (numbers["gamma"] / (1 - beta1 ** (count + 1))).to(params.dtype)
    params.addcdiv_(mean * length, size, value=-1)


_INDIAN = _Rule(("velocity",), ("alpha", "beta"), _step_indian)
_ADAM = _Rule(("exp_avg", "exp_avg_sq"), ("beta1", "beta2", "eps"), _step_adam)

_RULES: Mapping[str, _Rule] = {
    "indian": _INDIAN,
    "indian-eta": _INDIAN,
    "sgd": _Rule((), (), _step_sgd),
    "momentum": _Rule(("momentum_buffer",), ("momentum",), _step_momentum),
    "nesterov": _Rule(("momentum_buffer",), ("momentum",), _step_nesterov),
    "qhm": _Rule(("buffer",), ("momentum", "nu"), _step_qhm),
    "adagrad": _Rule(("sum",), ("eps",), _step_adagrad),
    "adam": _ADAM,
    "adamw": _ADAM,
}
_RULES_WITH_COUNTS = frozenset({"exp_avg", "sum"})
"""States beside which torch's optimizers keep a count for each parameter."""
