"""ADAM, and ADAMW, whose weight decay is always decoupled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import CONSTANT_STEP, EPS, GAMMA0, MOMENTUM, log_range, named

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.optim.family import Tensors

BETA1 = replace(
    MOMENTUM, name="beta1", description="decay of the mean of the gradients", argument="betas"
)
BETA2 = replace(
    BETA1, name="beta2", description="decay of the mean of their squares", default=0.999
)


def square_factors(numbers: Tensors, decay: str) -> Tensors:
    """Return the factors of :func:`size_after`.

    Args:
        numbers: of :class:`Packed`, with ``eps``.
        decay: name of that of the mean of the squares.
    """
    kept = numbers[decay]
    return {
        "kept": kept,
        "newest": 1 - kept,
        "correction": (1 - kept ** (numbers["count"] + 1)).sqrt(),
        "eps": numbers["eps"],
    }


def size_after(square: Tensor, grads: Tensor, factors: Tensors) -> Tensor:
    """Take gradients into the mean of their squares; return their size, corrected, plus eps."""
    square.mul_(factors["kept"]).addcmul_(grads * factors["newest"], grads)
    return square.sqrt().div_(factors["correction"]).add_(factors["eps"])


def _factors(numbers: Tensors) -> Tensors:
    beta1 = numbers["beta1"]
    return {
        "taken": 1 - beta1,
        "length": numbers["gamma"] / (1 - beta1 ** (numbers["count"] + 1)),
        **square_factors(numbers, "beta2"),
    }


def _step(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    mean = states["exp_avg"].lerp_(grads, factors["taken"])
    size = size_after(states["exp_avg_sq"], grads, factors)
    params.addcdiv_(mean * factors["length"], size, value=-1)


ADAM = Family(
    "adam",
    "ADAM",
    named(GAMMA0, BETA1, BETA2, EPS, CONSTANT_STEP),
    {"gamma0": log_range(1e-5, 1e-1), "beta1": {"low": 0.8, "high": 0.99}},
    "torch.optim:Adam",
    # Gradients are divided by their own size, so a gradient of 1 moves θ by no fixed length.
    explain=lambda config: Dynamics(momentum=config["beta1"]),
    role="baseline",
    packed=Packed(("exp_avg", "exp_avg_sq"), _factors, _step, "adam", counted=True),
)
ADAMW = replace(
    ADAM,
    name="adamw",
    title="ADAMW",
    hyperparameters={
        name: replace(known, default=0.01) if name == "weight_decay" else known
        for name, known in ADAM.hyperparameters.items()
        if name != "decoupled_weight_decay"
    },
    default_space={**ADAM.default_space, "weight_decay": log_range(1e-5, 1.0)},
    fixed={"decoupled_weight_decay": True},
    role="other",
)
