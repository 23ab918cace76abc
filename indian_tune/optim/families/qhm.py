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


def _step(params: Tensor, grads: Tensor, states: Tensors, numbers: Tensors) -> None:
    gamma, nu = numbers["gamma"], numbers["nu"]
    buffer = states["buffer"].lerp_(grads, (1 - numbers["momentum"]).to(params.dtype))
    params.addcmul_(grads, (gamma * (1 - nu)).to(params.dtype), value=-1)
    params.addcmul_(buffer, (gamma * nu).to(params.dtype), value=-1)


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
    packed=Packed(("buffer",), _step),
)
