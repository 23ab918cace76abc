"""The steps of a family for K runs at once: parameters of shape [K, N], one run a row.

Each row has hyperparameters and a step count of its own, as tensors on the device, so that no
value leaves it and a step can be captured in a graph. Nothing crosses between rows. The rows
compute what the family's own optimizer computes, up to rounding, and their states can be exchanged
with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from indian_tune.errors import HyperparameterError
from indian_tune.optim.families import get_family
from indian_tune.optim.hyperparameters import COOLDOWN_SHAPE, SCHEDULE
from indian_tune.optim.kernel_choice import uses_kernels
from indian_tune.optim.schedules import Schedule, decay, is_scheduled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

__all__ = ["StackedOptimizer", "StepSignature"]


@dataclass(frozen=True)
class StepSignature:
    """What decides which operations a step consists of; equal for all rows of a stack.

    Attributes:
        family: name of the family.
        decay: ``"none"``, ``"decoupled"`` or ``"coupled"`` weight decay.
        names: of the hyperparameters that are given.
    """

    family: str
    decay: str
    names: frozenset[str]

    @classmethod
    def of(cls, family: str, config: Mapping[str, float]) -> StepSignature:
        """Return the signature of a complete configuration."""
        decay = "none"
        if config.get("weight_decay", 0.0) != 0:
            # A family without the choice, as AdamW, is of the decoupled kind.
            decay = "decoupled" if config.get("decoupled_weight_decay", 1.0) else "coupled"
        return cls(family, decay, frozenset(config))


class StackedOptimizer:
    """K optimizers of one signature, a row each.

    Args:
        signature: of all rows.
        params: [K, N], changed in place by every step.

    Attributes:
        states: by the name that the family's own optimizer gives them, each of ``params``' shape.

    Raises:
        HyperparameterError: the family cannot be stacked.
    """

    def __init__(self, signature: StepSignature, params: Tensor) -> None:
        packed = get_family(signature.family).packed
        if packed is None:
            raise HyperparameterError(f"{signature.family} has no step for several runs at once")
        self._signature = signature
        self._params = params
        self._packed = packed
        self.states = {name: torch.zeros_like(params) for name in packed.states}
        self._count = params.new_zeros((params.shape[0], 1), dtype=torch.float64)
        # Its names are those of numbers; the schedule's own are read off them.
        self._scheduled = is_scheduled(signature.names)
        names = (*signature.names, *packed.numbers, *(_SCHEDULE if self._scheduled else ()))
        self._numbers = {name: torch.zeros_like(self._count) for name in names}
        # Of factors, as planned last.
        self._names: tuple[str, ...] = ()

    def set_row(self, row: int, config: Mapping[str, float], count: int) -> None:
        """Give a row its hyperparameters and the number of steps it has taken.

        Args:
            row: 0 … K - 1.
            config: complete, of this stack's signature.
            count: steps taken.
        """
        assert StepSignature.of(self._signature.family, config) == self._signature
        values = {**config, **self._packed.resume(config, count), **_schedule_numbers(config)}
        for name, numbers in self._numbers.items():
            numbers[row] = values[name]
        self._count[row] = count

    def clear_row(self, row: int) -> None:
        """Make a row idle: step size and states 0."""
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
        self.apply(grads, self.plan(1), torch.zeros(1, dtype=torch.int64, device=grads.device))

    @torch.no_grad()
    def plan(self, steps: int) -> Tensor:
        """Return the factors of the next steps of every row, and count these as taken.

        Args:
            steps: how many.

        Returns:
            [steps, factors, K, 1], of the parameters' type.
        """
        numbers = self._numbers
        count = self._count + torch.arange(steps, device=self._count.device).view(-1, 1, 1)
        if self._scheduled:
            gamma = numbers["gamma0"] * _factors(numbers, count)
        else:
            gamma = numbers["gamma0"] * (count + 1) ** -numbers["decay_power"]
        factors = self._packed.factors({**numbers, "gamma": gamma, "count": count})
        if self._signature.decay == "decoupled":
            factors["shrinkage"] = gamma * numbers["weight_decay"]
        elif self._signature.decay == "coupled":
            factors["weight_decay"] = numbers["weight_decay"]
        self._count += steps
        self._names = tuple(factors)
        shape = (steps, *self._count.shape)
        return torch.stack([each.expand(shape) for each in factors.values()], 1).to(
            self._params.dtype
        )

    @torch.no_grad()
    def apply(self, grads: Tensor, factors: Tensor, step: Tensor) -> None:
        """Take one of the steps that are planned, in every row.

        Args:
            grads: [K, N], left as they are.
            factors: of :meth:`plan`.
            step: int64 [1], which of its steps.
        """
        params = self._params
        if self._packed.rule and uses_kernels(params):
            from indian_tune.optim.packed_kernel import packed_step

            states, start = list(self.states.values()), "start" in self._names
            decay = self._signature.decay
            packed_step(params, grads, states, factors, step, self._packed.rule, decay, start)
            return
        named = dict(zip(self._names, factors.index_select(0, step)[0], strict=True))
        if self._signature.decay == "decoupled":
            params.addcmul_(params, named["shrinkage"], value=-1)
        elif self._signature.decay == "coupled":
            grads = grads.addcmul(params, named["weight_decay"])
        self._packed.step(params, grads, self.states, named)

    def read(self, optimizer: Optimizer, param: Tensor, name: str) -> Tensor | None:
        """Return a state of the family's own optimizer; ``None`` while it has none.

        Args:
            optimizer: the family's own.
            param: one of its parameters.
            name: a key of :attr:`states`.
        """
        return self._packed.read(optimizer, param, name) if param in optimizer.state else None

    @torch.no_grad()
    def write(
        self,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        states: Mapping[Tensor, Mapping[str, Tensor]],
        *,
        config: Mapping[str, float],
        count: int,
    ) -> None:
        """Bring the family's own optimizer to where a row is.

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
            if self._packed.counted:
                state["step"] = torch.tensor(float(count))
        if self._packed.settle is not None:
            self._packed.settle(optimizer, config, count)
        if scheduler is not None:
            schedule = Schedule.of(config)
            group["lr"] = config["gamma0"] * (
                decay(count, config["decay_power"]) if schedule is None else schedule.factor(count)
            )
            moved: dict[str, object] = {
                "last_epoch": count,
                "_step_count": count + 1,
                "_last_lr": [group["lr"]],
            }
            scheduler.load_state_dict({**moved, "lr_lambdas": [None]})


_SCHEDULE = ("kind", "floor", "warmup_steps", "horizon", "cooldown_steps", "shape")


def _schedule_numbers(config: Mapping[str, float]) -> dict[str, float]:
    """Return a schedule as numbers, named as in ``_SCHEDULE``; none for ``decay_power`` alone."""
    schedule = Schedule.of(config)
    if schedule is None:
        return {}
    return {
        "kind": SCHEDULE.labels.index(schedule.kind),
        "floor": schedule.floor,
        "warmup_steps": schedule.warmup_steps,
        "horizon": schedule.horizon,
        "cooldown_steps": schedule.cooldown_steps,
        "shape": COOLDOWN_SHAPE.labels.index(schedule.cooldown_shape),
    }


def _factors(numbers: Mapping[str, Tensor], count: Tensor) -> Tensor:
    """Return :meth:`Schedule.factor` of every step and row; a row may have any schedule.

    All schedules are computed and one of them is taken, so that no value leaves the device. A row
    that is idle has numbers of 0, by which nothing is divided.

    Args:
        numbers: [K, 1].
        count: [steps, K, 1].
    """
    kind, drop = numbers["kind"], 1 - numbers["floor"]
    warm, horizon = numbers["warmup_steps"], numbers["horizon"].clamp(min=1)
    cooldown, shape = numbers["cooldown_steps"], numbers["shape"]
    after = (count - warm).clamp(min=0)
    share = (after / horizon).clamp(max=1)
    begun = ((after - horizon + cooldown) / cooldown.clamp(min=1)).clamp(0, 1)
    begun = torch.where(cooldown == 0, torch.zeros_like(begun), begun)
    fallen = torch.where(shape == 1, (1 - torch.cos(math.pi * begun)) / 2, begun)
    fallen = torch.where(shape == 2, begun.sqrt(), fallen)
    factors = torch.ones_like(count)
    for number, each in (
        (0, (after + 1) ** -numbers["decay_power"]),
        (2, 1 - drop * share),
        (3, numbers["floor"] + drop * (1 + torch.cos(math.pi * share)) / 2),
        (4, 1 - drop * fallen),
    ):
        factors = torch.where(kind == number, each, factors)
    return torch.where(count < warm, (count + 1) / warm.clamp(min=1), factors)
