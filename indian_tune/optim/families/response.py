"""SGD at INDIAN's response to a steady gradient: what trains a response-matched control."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import (
    ALPHA,
    BETA,
    DECAY_POWER,
    GAMMA0,
    INITIAL_VELOCITY,
    LEVEL,
    log_range,
    named,
)
from indian_tune.optim.schedules import Schedule, decay

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from indian_tune.optim.family import Config, Tensors


def _explain(config: dict[str, float]) -> Dynamics:
    level, gamma0 = config["level"], config["gamma0"]
    first = config.get("initial_velocity", config["beta"])
    # Its step sizes rise before they fall, so that no single step represents a recursion.
    return Dynamics(level * gamma0 / config["alpha"], level * gamma0 * first)


def _memory(config: Config, count: int) -> dict[str, float]:
    from indian_tune.optim.response import memory_after

    schedule = Schedule.of(config)
    power = config["decay_power"]
    factor = partial(decay, decay_power=power) if schedule is None else schedule.factor
    start = config.get("initial_velocity")
    options = {**config, "lr": config["gamma0"], "initial_velocity": start}
    return {"memory": memory_after(options, count, factor)}


def _factors(numbers: Tensors) -> Tensors:
    import torch

    memory, gammas = numbers["memory"], numbers["gamma"]
    alpha, beta = numbers["alpha"], numbers["beta"]
    rates = []
    for gamma in gammas:
        rates.append(numbers["level"] * (gamma * (beta + memory)))
        memory.mul_(1 - alpha * gamma).add_(gamma * (1 - alpha * beta))
    return {"rate": torch.stack(rates)}


def _step(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    del states
    params.addcmul_(grads, factors["rate"], value=-1)


def _settle(optimizer: Optimizer, config: Config, count: int) -> None:
    for group in optimizer.param_groups:
        group["step"], group["memory"] = count, _memory(config, count)["memory"]


RESPONSE = Family(
    "sgd-response",
    "SGD at INDIAN's response",
    named(GAMMA0, ALPHA, BETA, LEVEL, DECAY_POWER, INITIAL_VELOCITY),
    {
        "alpha": log_range(0.05, 2.0),
        "beta": log_range(0.01, 2.0),
        "gamma0": log_range(1e-3, 1.0),
    },
    "indian_tune.optim.response:ResponseSgd",
    explain=_explain,
    schedules_itself=True,
    packed=Packed((), _factors, _step, "sgd", numbers=("memory",), resume=_memory, settle=_settle),
)
