"""The part of a configuration that belongs to the training and not to the optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.optim.hyperparameters import SCHEDULE_PARAMETERS, Hyperparameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.optim.hyperparameters import Value
    from indian_tune.study.file.problem import ProblemSection

__all__ = [
    "SETTINGS",
    "TRAINING_PARAMETERS",
    "differing_settings",
    "split_training_parameters",
    "training_values",
]

TRAINING_PARAMETERS = {
    each.name: each
    for each in (
        Hyperparameter("batch_size", "examples of a step", kind="int", low=1),
        Hyperparameter("dropout", "rate of dropout", low=0, high=1, high_open=True),
        Hyperparameter(
            "clip_norm", "largest norm of the gradient of all parameters; 0 for none", 0.0, low=0
        ),
        Hyperparameter(
            "ema_decay",
            "decay of the average of the weights that is measured; 0 for the weights themselves",
            0.0,
            low=0,
            high=1,
            high_open=True,
        ),
    )
}

SETTINGS = (
    *TRAINING_PARAMETERS,
    *("weight_decay", "decoupled_weight_decay", "decay_power"),
    *(each.name for each in SCHEDULE_PARAMETERS),
)
"""Hyperparameters that are neither a rate nor the memory of an optimizer."""


def differing_settings(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    """Return the names of :data:`SETTINGS` in which two spaces differ.

    A weight decay, a norm for clipping or a decay of the average that is 0 is like none.
    """

    def given(space: Mapping[str, object], name: str) -> object:
        value = space.get(name)
        none = name in ("weight_decay", "clip_norm", "ema_decay")
        return None if none and getattr(value, "value", None) == 0 else value

    return [name for name in SETTINGS if given(first, name) != given(second, name)]


def split_training_parameters(
    config: Mapping[str, Value],
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the optimizer's part of a configuration and the training's part."""
    optimizer = {n: value for n, value in config.items() if n not in TRAINING_PARAMETERS}
    training = {n: value for n, value in config.items() if n in TRAINING_PARAMETERS}
    return optimizer, training


def training_values(own: Mapping[str, Value], problem: ProblemSection) -> dict[str, Any]:
    """Return all values of the training: a configuration's, the problem's, or the defaults.

    Args:
        own: the training's part of a configuration.
        problem: of the study.
    """
    return {
        "batch_size": int(own.get("batch_size", problem.batch_size)),
        "dropout": own.get("dropout", problem.dropout),
        "clip_norm": own.get("clip_norm", 0.0),
        "ema_decay": own.get("ema_decay", 0.0),
    }
