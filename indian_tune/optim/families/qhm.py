"""Quasi-hyperbolic momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import GAMMA0, MOMENTUM, NU, log_range, named

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.optim.family import Tensors


def _explain(config: dict[str, float]) -> Dynamics:
    # QHM's momentum is damped, b <- mu b + (1 - mu) g, so the step size is the effective one.
    gamma0, momentum = config["gamma0"], config["momentum"]
    return Dynamics(gamma0, gamma0 * (1 - config["nu"] * momentum), momentum)


def _factors(numbers: Tensors) -> Tensors:
    gamma, nu = numbers["gamma"], numbers["nu"]
    return {
        "taken": 1 - numbers["momentum"],
        "newest": gamma * (1 - nu),
        "length": gamma * nu,
    }


def _step(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    buffer = states["buffer"].lerp_(grads, factors["taken"])
    params.addcmul_(grads, factors["newest"], value=-1)
    params.addcmul_(buffer, factors["length"], value=-1)


QHM = Family(
    "qhm",
    "QHM",
    named(GAMMA0, MOMENTUM, NU),
    {
        "gamma0": log_range(1e-3, 1.0),
        "momentum": {"low": 0.5, "high": 0.999},
        "nu": {"low": 0.0, "high": 1.0},
    },
    "indian_tune.optim.qhm:Qhm",
    explain=_explain,
    role="momentum",
    decouple=True,
    packed=Packed(("buffer",), _factors, _step, "qhm"),
)
