"""SGD: plain, with heavy-ball momentum and with Nesterov's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import GAMMA0, MOMENTUM, log_range, named

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.optim.family import Tensors


def _explain(config: dict[str, float], *, nesterov: bool = False) -> Dynamics:
    # torch's momentum is undamped, b <- mu b + g, so the momentum multiplies the step size.
    gamma0, momentum = config["gamma0"], config.get("momentum", 0.0)
    response = gamma0 * (1 + momentum) if nesterov else gamma0
    return Dynamics(gamma0 / (1 - momentum), response, momentum)


def _factors(numbers: Tensors) -> Tensors:
    return {name: numbers[name] for name in ("gamma", "momentum") if name in numbers}


def _step_plain(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    del states
    params.addcmul_(grads, factors["gamma"], value=-1)


def _step(
    params: Tensor, grads: Tensor, states: Tensors, factors: Tensors, *, nesterov: bool = False
) -> None:
    momentum = factors["momentum"]
    buffer = states["momentum_buffer"].mul_(momentum).add_(grads)
    _step_plain(params, grads.addcmul(buffer, momentum) if nesterov else buffer, states, factors)


SGD = Family(
    "sgd",
    "SGD",
    named(GAMMA0),
    {"gamma0": log_range(1e-3, 1.0)},
    "torch.optim:SGD",
    explain=_explain,
    role="baseline",
    decouple=True,
    plain=True,
    packed=Packed((), _factors, _step_plain, "sgd"),
)
HEAVY_BALL = Family(
    "momentum",
    "SGD with momentum",
    named(GAMMA0, MOMENTUM),
    {"gamma0": log_range(1e-4, 1.0), "momentum": {"low": 0.5, "high": 0.99}},
    "torch.optim:SGD",
    explain=_explain,
    role="momentum",
    decouple=True,
    packed=Packed(("momentum_buffer",), _factors, _step, "momentum"),
)
NESTEROV = replace(
    HEAVY_BALL,
    name="nesterov",
    title="Nesterov momentum",
    hyperparameters=named(GAMMA0, replace(MOMENTUM, low_open=True)),
    fixed={"nesterov": True},
    explain=partial(_explain, nesterov=True),
    packed=Packed(("momentum_buffer",), _factors, partial(_step, nesterov=True), "nesterov"),
)
