"""ADAGRAD."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import CONSTANT_STEP, EPS, GAMMA0, log_range, named

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.optim.family import Tensors


def _factors(numbers: Tensors) -> Tensors:
    return {name: numbers[name] for name in ("gamma", "eps")}


def _step(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    total = states["sum"].addcmul_(grads, grads)
    size = total.sqrt().add_(factors["eps"])
    params.addcdiv_(grads * factors["gamma"], size, value=-1)


ADAGRAD = Family(
    "adagrad",
    "ADAGRAD",
    named(GAMMA0, replace(EPS, default=1e-10), CONSTANT_STEP),
    {"gamma0": log_range(1e-4, 1.0)},
    "torch.optim:Adagrad",
    # Gradients are divided by their own size, so a gradient of 1 moves θ by no fixed length.
    explain=lambda _: Dynamics(momentum=0.0),
    role="baseline",
    decouple=True,
    packed=Packed(("sum",), _factors, _step, "adagrad", counted=True),
)
