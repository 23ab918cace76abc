"""Quasi-hyperbolic momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.optim.family import Family, Meaning, Packed
from indian_tune.optim.hyperparameters import (
    DECAY_POWER,
    DECOUPLED_WEIGHT_DECAY,
    GAMMA0,
    MOMENTUM,
    NU,
    WEIGHT_DECAY,
    log_range,
    named,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.family import Tensors

__all__ = ["QHM"]


def _make(params: ParamsT, config: dict[str, float]) -> Optimizer:
    from indian_tune.optim.qhm import Qhm

    return Qhm(
        params,
        config["gamma0"],
        config["momentum"],
        config["nu"],
        weight_decay=config["weight_decay"],
    )


def _explain(config: dict[str, float]) -> Meaning:
    # QHM's momentum is damped, b <- mu b + (1 - mu) g, so the step size is the effective one.
    gamma0, momentum = config["gamma0"], config["momentum"]
    return Meaning(gamma0, gamma0 * (1 - config["nu"] * momentum), momentum)


def _step(params: Tensor, grads: Tensor, states: Tensors, numbers: Tensors) -> None:
    gamma, nu = numbers["gamma"], numbers["nu"]
    buffer = states["buffer"].lerp_(grads, (1 - numbers["momentum"]).to(params.dtype))
    params.addcmul_(grads, (gamma * (1 - nu)).to(params.dtype), value=-1)
    params.addcmul_(buffer, (gamma * nu).to(params.dtype), value=-1)


QHM = Family(
    "qhm",
    "QHM",
    named(GAMMA0, MOMENTUM, NU, DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {
        "gamma0": log_range(1e-3, 1.0),
        "momentum": {"low": 0.5, "high": 0.999},
        "nu": {"low": 0.0, "high": 1.0},
    },
    _make,
    _explain,
    role="momentum",
    decouple=True,
    packed=Packed(("buffer",), _step),
)
