"""Muon (Jordan et al., 2024) on matrices, ADAMW with a step size of its own on all else."""

from __future__ import annotations

from dataclasses import replace

from indian_tune.optim.family import Dynamics, Family
from indian_tune.optim.hyperparameters import CONSTANT_STEP, GAMMA0, MOMENTUM, log_range, named

REST_GAMMA0 = replace(
    GAMMA0,
    name="rest_gamma0",
    description="first step size of ADAMW, for parameters that are not matrices",
    default=1e-3,
    required=False,
    argument="rest_lr",
)
HYPERPARAMETERS = named(GAMMA0, REST_GAMMA0, replace(MOMENTUM, default=0.95), CONSTANT_STEP)
del HYPERPARAMETERS["decoupled_weight_decay"]

MUON = Family(
    "muon",
    "Muon",
    HYPERPARAMETERS,
    {
        "gamma0": log_range(1e-4, 1.0),
        "rest_gamma0": log_range(1e-5, 1e-1),
        "momentum": {"low": 0.8, "high": 0.99},
    },
    "indian_tune.optim.muon:MuonAdamW",
    # A matrix moves by one with singular values near 1, however large its gradient is.
    explain=lambda config: Dynamics(momentum=config["momentum"]),
)
