"""Measures a network on a split."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from indian_tune.training.precision import FLOAT32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from indian_tune.training.feed import Feed
    from indian_tune.training.precision import Precision

CPU_BATCH_VALUES = 16_384
"""Pixel values per forward pass on a CPU: beyond about that, activations fall out of its cache."""

CPU_BATCH_LEAST = 32
GPU_BATCH = 1024


@dataclass(frozen=True)
class Measure:
    """Mean cross-entropy in nats and share of images classified correctly."""

    loss: float
    accuracy: float


def evaluate(model: nn.Module, feed: Feed, precision: Precision = FLOAT32) -> Measure:
    """Measure a network in evaluation mode (dropout off).

    The cross-entropy of each image is computed from the logits in float64 and the mean accumulated
    in float64.
    """
    with _evaluation(model, feed, precision):
        loss = torch.zeros((), dtype=torch.float64, device=feed.labels.device)
        correct = torch.zeros((), dtype=torch.int64, device=feed.labels.device)
        for images, labels in feed.batches(_batch_size(feed)):
            logits = model(images)
            loss += functional.cross_entropy(logits.double(), labels, reduction="sum")
            correct += (logits.argmax(1) == labels).sum()
    count = len(feed)
    return Measure(loss=loss.item() / count, accuracy=correct.item() / count)


def correctness(model: nn.Module, feed: Feed, precision: Precision = FLOAT32) -> Tensor:
    """Tell of each image whether a network classifies it correctly, in evaluation mode.

    Returns:
        bool [N], on the CPU.
    """
    with _evaluation(model, feed, precision):
        parts = [
            model(images).argmax(1) == labels for images, labels in feed.batches(_batch_size(feed))
        ]
        return torch.cat(parts).cpu()


def digits_of(correct: Tensor) -> str:
    """Return truth values [N] as a text of N characters, 1 or 0."""
    return "".join(map(str, correct.int().tolist()))


def _batch_size(feed: Feed) -> int:
    """A function of images and device kind alone: the last bits of a loss depend on it."""
    if feed.labels.device.type != "cpu":
        return GPU_BATCH
    return max(CPU_BATCH_LEAST, CPU_BATCH_VALUES // feed.values_per_input)


@contextmanager
def _evaluation(model: nn.Module, feed: Feed, precision: Precision) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        device = feed.labels.device
        with torch.inference_mode(), precision.arithmetic(device), precision.forward(device):
            yield
    finally:
        model.train(training)
