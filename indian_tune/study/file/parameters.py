"""The part of a configuration that belongs to the training and not to the optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TRAINING_PARAMETERS = ("batch_size", "dropout")


def split_training_parameters(
    config: Mapping[str, float],
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the optimizer's part of a configuration and the training's part."""
    optimizer = {n: value for n, value in config.items() if n not in TRAINING_PARAMETERS}
    training = {n: value for n, value in config.items() if n in TRAINING_PARAMETERS}
    return optimizer, training
