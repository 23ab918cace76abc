"""The catalog of optimizers that an arm may use.

Nothing here imports torch until an optimizer is built, so that the command line can check a study
file cheaply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError
from indian_tune.optim.family import Family, Meaning
from indian_tune.optim.hyperparameters import (
    ALPHA,
    BETA,
    CONSTANT_STEP,
    DECAY_POWER,
    DECOUPLED_WEIGHT_DECAY,
    ETA,
    GAMMA0,
    INITIAL_VELOCITY,
    MOMENTUM,
    NU,
    WEIGHT_DECAY,
    Hyperparameter,
)
from indian_tune.optim.own_family import is_own, own_family

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.optim import Optimizer
    from torch.optim.optimizer import ParamsT

__all__ = ["FAMILIES", "get_family"]

EPS = Hyperparameter("eps", "keeps the denominator from 0", default=1e-8, low=0, low_open=True)
BETA1 = replace(MOMENTUM, name="beta1", meaning="decay of the mean of the gradients")
BETA2 = replace(MOMENTUM, name="beta2", meaning="decay of the mean of their squares", default=0.999)


def get_family(name: str) -> Family:
    """Return the family called ``name``.

    Args:
        name: a key of :data:`FAMILIES`, ``torch.optim:Class`` for any other optimizer of torch
            (only this looks torch up), or one of one's own, see :func:`own_family`.

    Raises:
        HyperparameterError: there is no such family, or the class cannot be tuned.
    """
    if is_own(name, FAMILIES):
        return own_family(name, FAMILIES)
    if name in FAMILIES:
        return FAMILIES[name]
    from indian_tune.optim.torch_family import torch_family

    return torch_family(name)


def _named(*hyperparameters: Hyperparameter) -> dict[str, Hyperparameter]:
    return {hyperparameter.name: hyperparameter for hyperparameter in hyperparameters}


def _log_range(low: float, high: float) -> dict[str, object]:
    return {"low": low, "high": high, "log": True}


def _make_indian(params: ParamsT, config: dict[str, float]) -> Optimizer:
    from indian_tune.optim.indian import Indian

    return Indian(
        params,
        config["gamma0"],
        config["alpha"],
        config["beta"],
        decay_power=config["decay_power"],
        weight_decay=config["weight_decay"],
        decoupled_weight_decay=bool(config["decoupled_weight_decay"]),
        initial_velocity=config.get("initial_velocity"),
    )


def _explain_indian(config: dict[str, float]) -> Meaning:
    gamma0, alpha, beta = config["gamma0"], config["alpha"], config["beta"]
    return Meaning(gamma0 / alpha, gamma0 * beta, 1 - alpha * gamma0)


def _make_sgd(params: ParamsT, config: dict[str, float], *, nesterov: bool = False) -> Optimizer:
    import torch

    optimizer = torch.optim.SGD(
        params,
        config["gamma0"],
        momentum=config.get("momentum", 0.0),
        nesterov=nesterov,
        weight_decay=_coupled_decay(config),
    )
    return _decouple(optimizer, config)


def _explain_sgd(config: dict[str, float], *, nesterov: bool = False) -> Meaning:
    # torch's momentum is undamped, b <- mu b + g, so the momentum multiplies the step size.
    gamma0, momentum = config["gamma0"], config.get("momentum", 0.0)
    response = gamma0 * (1 + momentum) if nesterov else gamma0
    return Meaning(gamma0 / (1 - momentum), response, momentum)


def _make_qhm(params: ParamsT, config: dict[str, float]) -> Optimizer:
    from indian_tune.optim.qhm import Qhm

    optimizer = Qhm(
        params,
        config["gamma0"],
        config["momentum"],
        config["nu"],
        weight_decay=_coupled_decay(config),
    )
    return _decouple(optimizer, config)


def _explain_qhm(config: dict[str, float]) -> Meaning:
    # QHM's momentum is damped, b <- mu b + (1 - mu) g, so the step size is the effective one.
    gamma0, momentum = config["gamma0"], config["momentum"]
    return Meaning(gamma0, gamma0 * (1 - config["nu"] * momentum), momentum)


def _make_adagrad(params: ParamsT, config: dict[str, float]) -> Optimizer:
    import torch

    optimizer = torch.optim.Adagrad(
        params, config["gamma0"], eps=config["eps"], weight_decay=_coupled_decay(config)
    )
    return _decouple(optimizer, config)


def _make_adam(params: ParamsT, config: dict[str, float]) -> Optimizer:
    import torch

    return torch.optim.Adam(
        params,
        config["gamma0"],
        betas=(config["beta1"], config["beta2"]),
        eps=config["eps"],
        weight_decay=config["weight_decay"],
        decoupled_weight_decay=bool(config["decoupled_weight_decay"]),
    )


def _make_adamw(params: ParamsT, config: dict[str, float]) -> Optimizer:
    return _make_adam(params, config | {"decoupled_weight_decay": 1.0})


def _explain_adaptive(config: dict[str, float]) -> Meaning:
    # Gradients are divided by their own size, so a gradient of 1 moves θ by no fixed length.
    return Meaning(None, None, config.get("beta1", 0.0))


def _coupled_decay(config: dict[str, float]) -> float:
    """The part of the weight decay that the optimizer adds to the gradient."""
    return 0.0 if config["decoupled_weight_decay"] else config["weight_decay"]


def _decouple(optimizer: Optimizer, config: dict[str, float]) -> Optimizer:
    """Give an optimizer that has only the other weight decay the decoupled one."""
    if config["decoupled_weight_decay"] and config["weight_decay"] != 0:
        from indian_tune.optim.weight_decay import decouple

        decouple(optimizer, config["weight_decay"])
    return optimizer


@dataclass(frozen=True)
class _EtaFamily(Family):
    """INDIAN searched in its effective learning rate η = γ0/α instead of γ0."""

    def complete(self, config: Mapping[str, float]) -> dict[str, float]:
        """Return ``config`` with γ0 = α·η in the place of η: a configuration of ``indian``.

        What is already such a configuration is taken as it is.
        """
        if "gamma0" in config:
            if "eta" in config:
                raise HyperparameterError(
                    f"{self.name} takes eta, or gamma0 = alpha * eta in its place, got both: "
                    f"eta = {config['eta']!r}, gamma0 = {config['gamma0']!r}"
                )
            return INDIAN.complete(config)
        complete = super().complete(config)
        return {"gamma0": complete["alpha"] * complete.pop("eta"), **complete}


INDIAN_REST = (ALPHA, BETA, DECAY_POWER, INITIAL_VELOCITY, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY)
INDIAN_SPACE = {"alpha": _log_range(0.05, 2.0), "beta": _log_range(0.01, 2.0)}

INDIAN = Family(
    "indian",
    "INDIAN",
    _named(GAMMA0, *INDIAN_REST),
    {**INDIAN_SPACE, "gamma0": _log_range(1e-3, 1.0)},
    _make_indian,
    _explain_indian,
    schedules_itself=True,
    role="ours",
)
INDIAN_ETA = _EtaFamily(
    "indian-eta",
    "INDIAN (α, β, η)",
    _named(ETA, *INDIAN_REST),
    {**INDIAN_SPACE, "eta": _log_range(1e-3, 2.0)},
    _make_indian,
    _explain_indian,
    schedules_itself=True,
    role="ours",
)
SGD = Family(
    "sgd",
    "SGD",
    _named(GAMMA0, DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {"gamma0": _log_range(1e-3, 1.0)},
    _make_sgd,
    _explain_sgd,
    role="baseline",
)
HEAVY_BALL = Family(
    "momentum",
    "SGD with momentum",
    _named(GAMMA0, MOMENTUM, DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {"gamma0": _log_range(1e-4, 1.0), "momentum": {"low": 0.5, "high": 0.99}},
    _make_sgd,
    _explain_sgd,
    role="momentum",
)
NESTEROV = replace(
    HEAVY_BALL,
    name="nesterov",
    title="Nesterov momentum",
    hyperparameters=_named(
        GAMMA0,
        replace(MOMENTUM, low_open=True),
        DECAY_POWER,
        WEIGHT_DECAY,
        DECOUPLED_WEIGHT_DECAY,
    ),
    make=partial(_make_sgd, nesterov=True),
    explain=partial(_explain_sgd, nesterov=True),
)
QHM = Family(
    "qhm",
    "QHM",
    _named(GAMMA0, MOMENTUM, NU, DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {
        "gamma0": _log_range(1e-3, 1.0),
        "momentum": {"low": 0.5, "high": 0.999},
        "nu": {"low": 0.0, "high": 1.0},
    },
    _make_qhm,
    _explain_qhm,
    role="momentum",
)
ADAGRAD = Family(
    "adagrad",
    "ADAGRAD",
    _named(
        GAMMA0, replace(EPS, default=1e-10), CONSTANT_STEP, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY
    ),
    {"gamma0": _log_range(1e-4, 1.0)},
    _make_adagrad,
    _explain_adaptive,
    role="baseline",
)
ADAM = Family(
    "adam",
    "ADAM",
    _named(GAMMA0, BETA1, BETA2, EPS, CONSTANT_STEP, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY),
    {"gamma0": _log_range(1e-5, 1e-1), "beta1": {"low": 0.8, "high": 0.99}},
    _make_adam,
    _explain_adaptive,
    role="baseline",
)
ADAMW = Family(
    "adamw",
    "ADAMW",
    _named(GAMMA0, BETA1, BETA2, EPS, CONSTANT_STEP, replace(WEIGHT_DECAY, default=0.01)),
    {**ADAM.default_space, "weight_decay": _log_range(1e-5, 1.0)},
    _make_adamw,
    _explain_adaptive,
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            INDIAN,
            INDIAN_ETA,
            SGD,
            HEAVY_BALL,
            NESTEROV,
            QHM,
            ADAGRAD,
            ADAM,
            ADAMW,
        )
    }
)
