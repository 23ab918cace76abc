"""INDIAN, searched in its first step size γ0 or in its effective learning rate η = γ0/α."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.optim.families.sgd import SGD
from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import (
    ALPHA,
    BETA,
    DECAY_POWER,
    ETA,
    GAMMA0,
    INITIAL_VELOCITY,
    log_range,
    named,
)
from indian_tune.optim.recast import RecastFamily

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from indian_tune.optim.family import Config, Tensors


def explain(config: dict[str, float]) -> Dynamics:
    """Say what a complete configuration of ``indian`` does in its first step."""
    gamma0, alpha, beta = config["gamma0"], config["alpha"], config["beta"]
    return Dynamics(gamma0 / alpha, gamma0 * beta, 1 - alpha * gamma0)


def match_rate(config: Config, complete: Config) -> dict[str, float]:
    """Return SGD's configuration with the effective learning rate of one of INDIAN.

    INDIAN with step sizes γ_k moves, once its velocity has settled, like SGD with step sizes
    γ_k/α. The schedule and what weight decay does in a step stay as they are.

    Args:
        config: as it was given, in the coordinates of its family.
        complete: the same as a complete configuration of ``indian``.
    """
    alpha = complete["alpha"]
    matched = {name: complete[name] for name in config if name in SGD.hyperparameters}
    matched["gamma0"] = complete["gamma0"] / alpha
    if complete["decoupled_weight_decay"] and complete["weight_decay"]:
        # It shrinks θ by the step size times itself, and the step size has grown by 1/α.
        matched["weight_decay"] = complete["weight_decay"] * alpha
    return matched


def _match_rate(config: Config) -> dict[str, float]:
    return match_rate(config, INDIAN_ETA.complete(config))


def _factors(numbers: Tensors) -> Tensors:
    from indian_tune.optim.functional import step_factors

    factors = step_factors(*(numbers[name] for name in ("gamma", "alpha", "beta")))
    if "initial_velocity" in numbers:
        share = numbers["beta"] - numbers["initial_velocity"]
        factors["start"] = share * (numbers["count"] == 0)
    return factors


def _step(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    from indian_tune.optim.functional import scaled_step

    velocity = states["velocity"]
    if "start" in factors:
        # Before the first step it is 0, and after it this adds 0.
        velocity.addcmul_(grads, factors["start"])
    scaled_step(params, velocity, grads, factors)


def _read(optimizer: Any, param: Tensor, name: str) -> Tensor:
    del name
    velocity: Tensor = optimizer.velocity(param)
    return velocity


def _settle(optimizer: Optimizer, config: Config, count: int) -> None:
    del config
    for group in optimizer.param_groups:
        group["step"], group["velocity_scale"] = count, 1.0


def _from_eta(config: dict[str, float]) -> dict[str, float]:
    return {"gamma0": config["alpha"] * config.pop("eta"), **config}


def _to_eta(config: Config) -> dict[str, float]:
    own = dict(config)
    return {"eta": own.pop("gamma0") / own["alpha"], **own}


OWN = (ALPHA, BETA, DECAY_POWER, INITIAL_VELOCITY)
SPACE = {"alpha": log_range(0.05, 2.0), "beta": log_range(0.01, 2.0)}

INDIAN = Family(
    "indian",
    "INDIAN",
    named(GAMMA0, *OWN),
    {**SPACE, "gamma0": log_range(1e-3, 1.0)},
    "indian_tune.optim.indian:Indian",
    explain=explain,
    role="ours",
    schedules_itself=True,
    match_rate=_match_rate,
    responds=True,
    packed=Packed(("velocity",), _factors, _step, "indian", read=_read, settle=_settle),
    adopt=dict,
)
INDIAN_ETA = RecastFamily(
    "indian-eta",
    "INDIAN (α, β, η)",
    named(ETA, *OWN),
    {**SPACE, "eta": log_range(1e-3, 2.0)},
    INDIAN.optimizer,
    explain=explain,
    role="ours",
    schedules_itself=True,
    match_rate=_match_rate,
    responds=True,
    packed=INDIAN.packed,
    adopt=_to_eta,
    base=INDIAN,
    recast=_from_eta,
)
