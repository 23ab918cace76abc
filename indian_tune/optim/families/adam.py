"""ADAM, and ADAMW, whose weight decay is always decoupled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.optim.family import Family, Meaning, Packed
from indian_tune.optim.hyperparameters import (
    CONSTANT_STEP,
    DECOUPLED_WEIGHT_DECAY,
    EPS,
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

__all__ = ["ADAM", "ADAMW"]

BETA1 = replace(MOMENTUM, name="beta1", meaning="decay of the mean of the gradients")
BETA2 = replace(MOMENTUM, name="beta2", meaning="decay of the mean of their squares", default=0.999)


def _make(params: ParamsT, config: dict[str, float]) -> Optimizer:
    import torch

    return torch.optim.Adam(
        params,
        config["gamma0"],
        betas=(config["beta1"], config["beta2"]),
        eps=config["eps"],
        weight_decay=config["weight_decay"],
        decoupled_weight_decay=bool(config.get("decoupled_weight_decay", True)),
    )


def _explain(config: dict[str, float]) -> Meaning:
    # Gradients are divided by their own size, so a gradient of 1 moves θ by no fixed length.
    return Meaning(None, None, config["beta1"])


def _step(params: Tensor, grads: Tensor, states: Tensors, numbers: Tensors) -> None:
    beta1, beta2, count = numbers["beta1"], numbers["beta2"], numbers["count"]
    mean = states["exp_avg"].lerp_(grads, (1 - beta1).to(params.dtype))
    square = states["exp_avg_sq"].mul_(beta2.to(params.dtype))
    square.addcmul_(grads * (1 - beta2).to(params.dtype), grads)
    correction = (1 - beta2 ** (count + 1)).sqrt().to(params.dtype)
    size = square.sqrt().div_(correction).add_(numbers["eps"].to(params.dtype))
    length = (numbers["gamma"] / (1 - beta1 ** (count + 1))).to(params.dtype)
    params.addcdiv_(mean * length, size, value=-1)


ADAM = Family(
    "adam",
    "ADAM",
    named(GAMMA0, BETA1, BETA2, EPS, CONSTANT_STEP, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {"gamma0": log_range(1e-5, 1e-1), "beta1": {"low": 0.8, "high": 0.99}},
    _make,
    _explain,
    role="baseline",
    packed=Packed(("exp_avg", "exp_avg_sq"), _step, counted=True),
)
ADAMW = replace(
    ADAM,
    name="adamw",
    title="ADAMW",
    hyperparameters=named(
        GAMMA0, BETA1, BETA2, EPS, CONSTANT_STEP, replace(WEIGHT_DECAY, default=0.01)
    ),
    default_space={**ADAM.default_space, "weight_decay": log_range(1e-5, 1.0)},
    role="other",
)
