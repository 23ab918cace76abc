"""NAdamW: ADAM with Nesterov's look-ahead (Dozat, 2016) and decoupled weight decay."""

from __future__ import annotations

from indian_tune.optim.families.adam import BETA1, BETA2
from indian_tune.optim.family import Dynamics, Family
from indian_tune.optim.hyperparameters import (
    CONSTANT_STEP,
    EPS,
    GAMMA0,
    Hyperparameter,
    log_range,
    named,
)

MOMENTUM_DECAY = Hyperparameter(
    "momentum_decay", "how fast the momentum grows to beta1", default=4e-3, low=0
)
HYPERPARAMETERS = named(GAMMA0, BETA1, BETA2, EPS, MOMENTUM_DECAY, CONSTANT_STEP)
del HYPERPARAMETERS["decoupled_weight_decay"]

NADAMW = Family(
    "nadamw",
    "NAdamW",
    HYPERPARAMETERS,
    {
        "gamma0": log_range(1e-5, 1e-1),
        "beta1": {"low": 0.8, "high": 0.99},
        "weight_decay": log_range(1e-5, 1.0),
    },
    "torch.optim:NAdam",
    fixed={"decoupled_weight_decay": True},
    # Gradients are divided by their own size, so a gradient of 1 moves θ by no fixed length.
    explain=lambda config: Dynamics(momentum=config["beta1"]),
)
