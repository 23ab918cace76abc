"""INNAprop, INDIAN's successor, searched in the ratio r of its step size γ0 = rβ.

"A second-order-like optimizer with adaptive gradient scaling for deep learning" (Bolte, Boustany,
Pauwels and Purica, 2024) asks for γ < β, which every r < 1 satisfies, whatever β is drawn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indian_tune.optim.families.adam import size_after, square_factors
from indian_tune.optim.family import Dynamics, Family, Packed
from indian_tune.optim.hyperparameters import (
    ALPHA,
    BETA,
    CONSTANT_STEP,
    EPS,
    GAMMA0,
    SIGMA,
    log_range,
    named,
)
from indian_tune.optim.recast import RecastFamily

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.optim.family import Tensors


def _factors(numbers: Tensors) -> Tensors:
    from indian_tune.optim.functional import step_factors

    return {
        **step_factors(*(numbers[name] for name in ("gamma", "alpha", "beta"))),
        **square_factors(numbers, "sigma"),
    }


def _step(params: Tensor, grads: Tensor, states: Tensors, factors: Tensors) -> None:
    from indian_tune.optim.functional import scaled_step

    size = size_after(states["square"], grads, factors)
    scaled_step(params, states["velocity"], grads / size, factors)


def _from_ratio(config: dict[str, float]) -> dict[str, float]:
    return {"gamma0": config.pop("ratio") * config["beta"], **config}


RATIO = replace(
    GAMMA0,
    name="ratio",
    description="first step size as a share of beta: gamma0 = ratio * beta",
    high=1,
    high_open=True,
)
OWN = (replace(ALPHA, default=0.1), replace(BETA, default=0.9), SIGMA, EPS, CONSTANT_STEP)
BASE = Family(
    "innaprop",
    "INNAprop",
    named(GAMMA0, *OWN),
    {},
    "indian_tune.optim.innaprop:Innaprop",
    packed=Packed(("velocity", "square"), _factors, _step, "innaprop", counted=True),
)
INNAPROP = RecastFamily(
    BASE.name,
    BASE.title,
    named(RATIO, *OWN),
    {
        "alpha": log_range(0.05, 2.0),
        "beta": log_range(0.1, 2.0),
        "ratio": log_range(1e-4, 0.5),
    },
    BASE.optimizer,
    # Gradients are divided by their own size, so a gradient of 1 moves θ by no fixed length.
    explain=lambda config: Dynamics(momentum=1 - config["alpha"] * config["gamma0"]),
    packed=BASE.packed,
    base=BASE,
    recast=_from_ratio,
)
