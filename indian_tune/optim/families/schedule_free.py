"""Schedule-free ADAMW: "The road less scheduled" (Defazio et al., 2024)."""

from __future__ import annotations

from dataclasses import replace

from indian_tune.optim.families.adam import BETA1, BETA2
from indian_tune.optim.family import Dynamics, Family
from indian_tune.optim.hyperparameters import (
    CONSTANT_STEP,
    EPS,
    GAMMA0,
    WEIGHT_DECAY,
    Hyperparameter,
    log_range,
)

OWN = (
    GAMMA0,
    replace(BETA1, description="weight of the average in the weights that gradients are taken at"),
    BETA2,
    EPS,
    Hyperparameter(
        "warmup_steps", "steps in which gamma0 is reached", default=0.0, kind="int", low=0
    ),
    WEIGHT_DECAY,
    replace(CONSTANT_STEP, high=0),
)

SCHEDULE_FREE = Family(
    "schedule-free",
    "Schedule-free ADAMW",
    {each.name: each for each in OWN},
    {
        "gamma0": log_range(1e-4, 1e-1),
        "beta1": {"low": 0.8, "high": 0.98},
        "weight_decay": log_range(1e-5, 1.0),
    },
    "schedulefree:AdamWScheduleFree",
    explain=lambda config: Dynamics(momentum=config["beta1"]),
    unscheduled="it averages the weights instead of using a schedule",
    averages=True,
    requires="schedulefree",
)
