"""Measures the networks of all lanes of a pack on a split at once."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.func import vmap

from indian_tune.training.capture import captured

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from indian_tune.problems.task import Task
    from indian_tune.training.feed import Feed
    from indian_tune.training.precision import Precision

MOST_INPUTS = 2048
"""Inputs of all lanes together in a forward pass."""


@dataclass(frozen=True)
class LaneMeasures:
    """What was measured of a lane.

    Attributes:
        metrics: split → name → value.
        correct: whether each test input is right, bool [N], on the CPU; ``None`` where that has no
            meaning.
    """

    metrics: dict[str, dict[str, float]]
    correct: Tensor | None


class PackEvaluation:
    """Measures all lanes on one split, in steps that are captured on a GPU.

    Args:
        forward: takes inputs [K, B, …] and returns outputs [K, B, …], in evaluation mode.
        feed: of the split.
        task: says what is measured; with no metrics of a user's own, which may do anything.
        lanes: K.
        precision: of the arithmetic.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        feed: Feed,
        task: Task,
        lanes: int,
        precision: Precision,
    ) -> None:
        self._forward = forward
        self._feed = feed
        self._task = task
        self._lanes = lanes
        self._precision = precision
        self._batch_size = batch_size(len(feed), lanes)
        device = feed.device
        self._places = torch.arange(self._batch_size, device=device)
        self._cursor = torch.zeros(1, dtype=torch.int64, device=device)
        self._totals: dict[str, Tensor] = {}
        self._correct: Tensor | None = None
        full, rest = divmod(len(feed), self._batch_size)
        self._sizes = [self._batch_size] * full + [rest] * (rest > 0)
        # A cycle would keep the memory of an evaluation that is dropped.
        own = weakref.proxy(self)
        with torch.no_grad(), precision.arithmetic(device):
            self._allocate()
            self._step_of = {
                size: captured(lambda size=size: own._step(size), self._cursor.zero_, device)  # type: ignore[misc]
                for size in dict.fromkeys(self._sizes)
            }

    @torch.no_grad()
    def run(self) -> None:
        """Take all inputs; nothing here waits for the device."""
        self._cursor.zero_()
        for total in self._totals.values():
            total.zero_()
        with self._precision.arithmetic(self._feed.device):
            for size in self._sizes:
                self._step_of[size]()

    def metrics(self) -> list[dict[str, float]]:
        """Return the metrics of every lane after :meth:`run`."""
        totals = {name: total.cpu() for name, total in self._totals.items()}
        count = self._task.count(self._feed.labels)
        return [
            self._task.summary(
                {name: total[lane] for name, total in totals.items()}, count, len(self._feed)
            )
            for lane in range(self._lanes)
        ]

    def correct(self, lane: int) -> Tensor | None:
        """Return which inputs are right after :meth:`run`, bool [N], on the CPU."""
        return None if self._correct is None else self._correct[lane].cpu()

    def _allocate(self) -> None:
        """Make what the steps write into, of the shapes of a first batch."""
        outputs, labels = self._outputs(self._sizes[0])
        totals = self._totals_of(outputs, labels)
        self._totals = {name: torch.zeros_like(total) for name, total in totals.items()}
        correct = self._task.correct(outputs[0], labels)
        if correct is not None:
            self._correct = correct.new_zeros(self._lanes, len(self._feed))

    def _outputs(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the outputs of a batch, [K, size, …], and its labels, [size, …]."""
        pick = self._cursor * self._batch_size + self._places[:size]
        inputs, labels = self._feed.gather(pick)
        with self._precision.forward(self._feed.device):
            return self._forward(inputs.expand(self._lanes, *inputs.shape)), labels

    def _totals_of(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the sums over a batch, float64 [K, …]."""
        totals: dict[str, Tensor] = vmap(self._task.totals, in_dims=(0, None))(outputs, labels)
        return {name: total.double() for name, total in totals.items()}

    def _right(self, outputs: Tensor, labels: Tensor) -> Tensor:
        right = self._task.correct(outputs, labels)
        assert right is not None
        return right

    def _step(self, size: int) -> None:
        outputs, labels = self._outputs(size)
        for name, total in self._totals_of(outputs, labels).items():
            self._totals[name] += total
        if self._correct is not None:
            correct: Tensor = vmap(self._right, in_dims=(0, None))(outputs, labels)
            pick = self._cursor * self._batch_size + self._places[:size]
            self._correct.index_copy_(1, pick, correct)
        self._cursor += 1


def batch_size(count: int, lanes: int) -> int:
    """Return how many inputs are measured at once in each of some lanes, of ``count``."""
    return min(count, max(1, MOST_INPUTS // lanes))
