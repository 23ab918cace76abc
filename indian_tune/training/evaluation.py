"""Measures a network on a split."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from indian_tune.problems.task import get_task
from indian_tune.training.precision import FLOAT32

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from indian_tune.problems.task import Task
    from indian_tune.training.feed import Feed
    from indian_tune.training.precision import Precision
    from indian_tune.training.stream_feed import StreamFeed

CPU_BATCH_VALUES = 16_384
"""Input values per forward pass on a CPU: with many more, activations fall out of its cache."""

CPU_BATCH_LEAST = 32
GPU_BATCH = 1024
CLASSIFICATION = "classification"


def evaluate(
    model: nn.Module,
    feed: Feed | StreamFeed,
    precision: Precision = FLOAT32,
    task: Task | str = CLASSIFICATION,
) -> dict[str, float]:
    """Measure a network in evaluation mode (dropout off).

    Returns:
        Name → value on the split, accumulated in float64, of every metric of the task.
    """
    task = get_task(task)
    with _evaluation(model, feed, precision):
        zero = torch.zeros((), dtype=torch.float64, device=feed.device)
        totals: dict[str, Tensor] = {}
        count = 0
        for inputs, labels in feed.batches(_batch_size(feed)):
            count += task.count(labels)
            for name, total in task.totals(model(inputs), labels).items():
                totals[name] = totals.get(name, zero) + total
    return task.summary(totals, count, len(feed))


def correctness(
    model: nn.Module,
    feed: Feed | StreamFeed,
    precision: Precision = FLOAT32,
    task: Task | str = CLASSIFICATION,
) -> Tensor | None:
    """Tell of each input whether a network classifies it correctly, in evaluation mode.

    Returns:
        bool [N], on the CPU; ``None`` for a task of which no output is right or wrong.
    """
    task = get_task(task)
    with _evaluation(model, feed, precision):
        parts = []
        for inputs, labels in feed.batches(_batch_size(feed)):
            part = task.correct(model(inputs), labels)
            if part is None:
                return None
            parts.append(part)
        return torch.cat(parts).cpu()


def bit_string(correct: Tensor) -> str:
    """Return truth values [N] as a text of N characters, 1 or 0."""
    return "".join(map(str, correct.int().tolist()))


def _batch_size(feed: Feed | StreamFeed) -> int:
    """A function of inputs and device kind alone: the last bits of a loss depend on it."""
    if feed.device.type != "cpu":
        return GPU_BATCH
    return max(CPU_BATCH_LEAST, CPU_BATCH_VALUES // feed.values_per_input)


@contextmanager
def _evaluation(model: nn.Module, feed: Feed | StreamFeed, precision: Precision) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        device = feed.device
        with torch.inference_mode(), precision.arithmetic(device), precision.forward(device):
            yield
    finally:
        model.train(training)
