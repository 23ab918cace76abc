"""INDIAN in the coordinates in which it is well conditioned: rate η, damping κ and memory.

With η = γ0/α, κ = αβ and the memory τ = 1/(αγ0), in first steps,

    α = 1/√(ητ),    β = κ√(ητ),    γ0 = √(η/τ).

κ = 1 is SGD with the step sizes η/(k + 1)^a whatever the memory is, and the rates at which κ < 1
trains are much the same: η is the rate that SGD would have, while the best γ0 of (α, β, γ0) moves
with α over decades. At κ = 1/τ the new gradient counts as in heavy ball. Momentum begins at
1 - 1/τ and grows as step sizes decay; a memory far above the square root of the number of steps
is not filled before training ends, and then moves less than η says.

Weight decay that is decoupled takes η for its step size too, so that it is SGD's at κ = 1.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.optim.families.indian import INDIAN, explain, match_rate
from indian_tune.optim.hyperparameters import (
    ALPHA,
    DECAY_POWER,
    ETA,
    INITIAL_VELOCITY,
    log_range,
    named,
)
from indian_tune.optim.recast import RecastFamily

if TYPE_CHECKING:
    from indian_tune.optim.family import Config

KAPPA = replace(
    ALPHA,
    name="kappa",
    description="damping alpha * beta: weight of the newest gradient, 1 is SGD",
    default=0.05,
    high=1,
)
MEMORY = replace(
    ALPHA,
    name="memory",
    description="1 / (alpha * gamma0): how many first steps the velocity remembers",
    default=10.0,
    low=1,
    low_open=False,
)


def _from_memory(config: dict[str, float]) -> dict[str, float]:
    eta, kappa, memory = (config.pop(name) for name in ("eta", "kappa", "memory"))
    per_alpha = math.sqrt(eta * memory)
    if config["decoupled_weight_decay"]:
        # It shrinks θ by γ_k times itself, and is meant for η in the place of γ0 = αη.
        config["weight_decay"] *= per_alpha
    return {
        "gamma0": math.sqrt(eta / memory),
        "alpha": 1 / per_alpha,
        "beta": kappa * per_alpha,
        **config,
    }


def _match_rate(config: Config) -> dict[str, float]:
    return match_rate(config, INDIAN_MEMORY.complete(config))


def _to_memory(config: Config) -> dict[str, float]:
    own = dict(config)
    gamma0, alpha, beta = (own.pop(name) for name in ("gamma0", "alpha", "beta"))
    if own["decoupled_weight_decay"]:
        own["weight_decay"] *= alpha
    return {"eta": gamma0 / alpha, "kappa": alpha * beta, "memory": 1 / (alpha * gamma0), **own}


INDIAN_MEMORY = RecastFamily(
    "indian-memory",
    "INDIAN (η, κ, memory)",
    named(ETA, KAPPA, MEMORY, DECAY_POWER, INITIAL_VELOCITY),
    {
        "eta": log_range(1e-3, 2.0),
        "kappa": log_range(0.01, 1.0),
        "memory": log_range(1.0, 100.0),
    },
    INDIAN.optimizer,
    explain=explain,
    role="ours",
    shape=("kappa", "memory"),
    schedules_itself=True,
    match_rate=_match_rate,
    responds=True,
    packed=INDIAN.packed,
    adopt=_to_memory,
    base=INDIAN,
    recast=_from_memory,
)
