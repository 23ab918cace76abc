"""Lion: "Symbolic discovery of optimization algorithms" (Chen et al., 2023)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.optim.families.adam import BETA1, BETA2
from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import CONSTANT_STEP, GAMMA0, log_range, named

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.optim.family import Tensors


def _factors(numbers: Tensors) -> Tensors:
    return {
        "gamma": numbers["gamma"],
        "looked": 1 - numbers["beta1"],
        "taken": 1 - numbers["beta2"],
    }


def _step(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    momentum = states["momentum"]
    move = momentum.lerp(grads, factors["looked"]).sign_()
    params.addcmul_(move, factors["gamma"], value=-1)
    momentum.lerp_(grads, factors["taken"])


LION = Family(
    "lion",
    "Lion",
    named(
        GAMMA0,
        replace(BETA1, description="weight of the momentum in the step", argument=None),
        replace(BETA2, description="decay of the momentum", default=0.99, argument=None),
        CONSTANT_STEP,
    ),
    {"gamma0": log_range(1e-6, 1e-2), "weight_decay": log_range(1e-4, 10.0)},
    "indian_tune.optim.lion:Lion",
    # Only signs move θ, so a gradient of 1 moves it as far as any other.
    explain=lambda config: Dynamics(momentum=config["beta2"]),
    packed=Packed(("momentum",), _factors, _step, "lion"),
)
