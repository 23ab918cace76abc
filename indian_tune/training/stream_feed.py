"""Feeds a network with examples that are read as they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from indian_tune.problems.stream import StreamError, seed_transforms
from indian_tune.problems.task import get_task
from indian_tune.training.feed import normalisation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from indian_tune.problems.problem import Problem
    from indian_tune.problems.stream import Stream
    from indian_tune.training.feed import Batch


class StreamFeed:
    """A stream, read and normalised as it is used; what it yields is what a ``Feed`` yields.

    Args:
        stream: the examples.
        problem: says how to normalise, and what labels are.
        device: where batches are to be.
        dtype: of the inputs that are yielded, unless they are int64, which stay as they are.
    """

    def __init__(
        self,
        stream: Stream,
        problem: Problem,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._stream = stream
        self._task, self._classes = get_task(problem.task), problem.classes
        self._device = device
        self._dtype = dtype
        self._gain, self._offset = normalisation(problem, device, dtype)
        self._shape = stream.first(1).inputs.shape[1:]

    def __len__(self) -> int:
        return len(self._stream)

    @property
    def device(self) -> torch.device:
        """Where batches are yielded."""
        return self._device

    @property
    def values_per_input(self) -> int:
        """Channels × height × width of an image, features of a table."""
        return self._shape.numel()

    def batches(
        self,
        size: int,
        order: Tensor | None = None,
        *,
        augmented: tuple[int, int] | None = None,
    ) -> Iterator[Batch]:
        """Yield batches; the last may be smaller.

        Args:
            size: examples per batch.
            order: int64 [N], the examples to take, in turn; all, as they lie, if ``None``.
            augmented: as a ``Feed`` takes it; not for a stream.

        Raises:
            StreamError: labels that do not fit the task, or examples of another shape.
        """
        assert augmented is None
        positions = range(len(self)) if order is None else order.tolist()
        seed_transforms()
        for start in range(0, len(positions), size):
            split = self._stream.read(positions[start : start + size])
            fault = self._task.label_fault(split.labels, self._classes)
            if split.inputs.shape[1:] != self._shape:
                fault = f"has inputs of different shapes, such as {list(split.inputs.shape)}"
            if fault is not None:
                raise StreamError(f"a batch of the data set {fault}")
            yield self._normalised(split.inputs), split.labels.to(self._device)

    def _normalised(self, inputs: Tensor) -> Tensor:
        # The channels innermost, as a Feed has them.
        raw = inputs.movedim(1, -1).contiguous().to(self._device)
        if raw.dtype == torch.int64:
            return raw.movedim(-1, 1)
        values = raw.to(self._dtype, copy=True)
        return values.mul_(self._gain).add_(self._offset).movedim(-1, 1)
