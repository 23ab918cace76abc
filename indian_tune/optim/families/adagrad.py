"""ADAGRAD."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.optim.family import Family, Meaning, Packed
from indian_tune.optim.hyperparameters import (
    CONSTANT_STEP,
    DECOUPLED_WEIGHT_DECAY,
    EPS,
    GAMMA0,
    WEIGHT_DECAY,
    log_range,
    named,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.family import Tensors

__all__ = ["ADAGRAD"]


def _make(params: ParamsT, config: dict[str, float]) -> Optimizer:
    import torch

    return torch.optim.Adagrad(
        params, config["gamma0"], eps=config["eps"], weight_decay=config["weight_decay"]
    )


def _explain(config: dict[str, float]) -> Meaning:
    # Gradients are divided by their own size, so a gradient of 1 moves θ by no fixed length.
    del config
    return Meaning(None, None, 0.0)


def _step(params: Tensor, grads: Tensor, states: Tensors, numbers: Tensors) -> None:
    total = states["sum"].addcmul_(grads, grads)
    size = total.sqrt().add_(numbers["eps"].to(params.dtype))
    params.addcdiv_(grads * numbers["gamma"].to(params.dtype), size, value=-1)


ADAGRAD = Family(
    "adagrad",
    "ADAGRAD",
    named(GAMMA0, replace(EPS, default=1e-10), CONSTANT_STEP, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {"gamma0": log_range(1e-4, 1.0)},
    _make,
    _explain,
    role="baseline",
    decouple=True,
    packed=Packed(("sum",), _step, counted=True),
)
