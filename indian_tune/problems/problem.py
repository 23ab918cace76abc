"""A problem: the data splits and the network that a run trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """A part of a data set, held in memory.

    Attributes:
        images: uint8, shape [N, channels, height, width]; normalised only when used.
        labels: int64, shape [N], values in 0 … classes - 1.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.labels.shape[0])


class ModelBuilder(Protocol):
    """Makes a network whose initial weights are a function of ``seed`` alone."""

    def __call__(self, *, seed: int, dropout: float) -> torch.nn.Module:
        """Return the network on the CPU in float32, in training mode."""
        ...


@dataclass(frozen=True)
class Problem:
    """What is trained, and on what.

    Attributes:
        dataset: name in the catalog of data sets.
        model: name in the catalog of models.
        classes: number of classes.
        train: what the optimizer sees.
        validation: carved from the training images (honest mode); ``None`` in paper mode.
        test: the sealed test images.
        mean: per channel, of the training images scaled by 1/255 (by 1/16 for digits).
        std: per channel, same scale as ``mean``.
        scale: what a raw pixel is divided by before ``mean`` and ``std`` apply.
        build_model: network for a seed and a dropout rate.
    """

    dataset: str
    model: str
    classes: int
    train: Split
    validation: Split | None
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    build_model: ModelBuilder
