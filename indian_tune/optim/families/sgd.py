"""SGD without momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.optim.family import Family, Meaning, Packed
from indian_tune.optim.hyperparameters import (
    DECAY_POWER,
    DECOUPLED_WEIGHT_DECAY,
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

__all__ = ["SGD"]


def _make(params: ParamsT, config: dict[str, float]) -> Optimizer:
    import torch

    return torch.optim.SGD(params, config["gamma0"], weight_decay=config["weight_decay"])


def _explain(config: dict[str, float]) -> Meaning:
    return Meaning(config["gamma0"], config["gamma0"], 0.0)


def _step(params: Tensor, grads: Tensor, states: Tensors, numbers: Tensors) -> None:
    del states
    params.addcmul_(grads, numbers["gamma"].to(params.dtype), value=-1)


SGD = Family(
    "sgd",
    "SGD",
    named(GAMMA0, DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {"gamma0": log_range(1e-3, 1.0)},
    _make,
    _explain,
    role="baseline",
    decouple=True,
    plain=True,
    packed=Packed((), _step),
)
