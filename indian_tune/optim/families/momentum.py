"""SGD with heavy-ball momentum, and with Nesterov's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from indian_tune.optim.family import Family, Meaning, Packed
from indian_tune.optim.hyperparameters import (
    DECAY_POWER,
    DECOUPLED_WEIGHT_DECAY,
    GAMMA0,
    MOMENTUM,
    WEIGHT_DECAY,
    log_range,
    named,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.family import Tensors

__all__ = ["HEAVY_BALL", "NESTEROV"]


def _make(params: ParamsT, config: dict[str, float], *, nesterov: bool = False) -> Optimizer:
    import torch

    return torch.optim.SGD(
        params,
        config["gamma0"],
        momentum=config["momentum"],
        nesterov=nesterov,
        weight_decay=config["weight_decay"],
    )


def _explain(config: dict[str, float], *, nesterov: bool = False) -> Meaning:
    # torch's momentum is undamped, b <- mu b + g, so the momentum multiplies the step size.
    gamma0, momentum = config["gamma0"], config["momentum"]
    response = gamma0 * (1 + momentum) if nesterov else gamma0
    return Meaning(gamma0 / (1 - momentum), response, momentum)


def _step(
    params: Tensor, grads: Tensor, states: Tensors, numbers: Tensors, *, nesterov: bool = False
) -> None:
    momentum = numbers["momentum"].to(params.dtype)
    buffer = states["momentum_buffer"].mul_(momentum).add_(grads)
    ahead = grads.addcmul(buffer, momentum) if nesterov else buffer
    params.addcmul_(ahead, numbers["gamma"].to(params.dtype), value=-1)


HEAVY_BALL = Family(
    "momentum",
    "SGD with momentum",
    named(GAMMA0, MOMENTUM, DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {"gamma0": log_range(1e-4, 1.0), "momentum": {"low": 0.5, "high": 0.99}},
    _make,
    _explain,
    role="momentum",
    decouple=True,
    packed=Packed(("momentum_buffer",), _step),
)
NESTEROV = replace(
    HEAVY_BALL,
    name="nesterov",
    title="Nesterov momentum",
    hyperparameters={**HEAVY_BALL.hyperparameters, **named(replace(MOMENTUM, low_open=True))},
    make=partial(_make, nesterov=True),
    explain=partial(_explain, nesterov=True),
    packed=Packed(("momentum_buffer",), partial(_step, nesterov=True)),
)
