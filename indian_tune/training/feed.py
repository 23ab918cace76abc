"""Feeds a network with examples that live on its device as they are stored."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import torch

from indian_tune.problems.randomness import generator
from indian_tune.training.augmentation import augmentation_bits, crop_patterns, crops, cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from indian_tune.problems.problem import Problem, Split

CHUNK_VALUES = 1_000_000
"""Values normalised at once: few enough to stay in a CPU's cache, enough to make calls rare."""

IMAGE_RANK = 4
"""Dimensions of a batch of images: [n, channels, height, width]."""

Batch = tuple["Tensor", "Tensor"]
"""Inputs [n, channels, …] (images in channels-last format), and labels, int64 [n]."""


class Feed:
    """A split on a device, gathered and normalised as it is used.

    Read only: all runs of a trainer share it.

    Args:
        split: inputs and labels.
        problem: says how to normalise.
        device: where the examples are to live.
        dtype: of the inputs that are yielded, unless they are int64, which stay as they are.
    """

    def __init__(
        self,
        split: Split,
        problem: Problem,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        # The channels innermost, so that a gathered batch of images is channels-last.
        self._inputs = split.inputs.movedim(1, -1).contiguous().to(device)
        self._labels = split.labels.to(device)
        self._gain, self._offset = normalisation(problem, device, dtype)
        self._patterns = torch.empty(0)
        if self.rank == IMAGE_RANK:
            # Made once: a step that is captured has no memory of the host at hand.
            self._patterns = crop_patterns(self.height, self.width, device)

    def __len__(self) -> int:
        return int(self._labels.shape[0])

    @property
    def labels(self) -> Tensor:
        """All labels, int64 [N], in order."""
        return self._labels

    @property
    def device(self) -> torch.device:
        """Where batches are yielded."""
        return self._labels.device

    @property
    def rank(self) -> int:
        """Dimensions of a batch of inputs: 4 for images, 2 for the rows of a table."""
        return self._inputs.dim()

    @property
    def height(self) -> int:
        """Of images."""
        return int(self._inputs.shape[1])

    @property
    def width(self) -> int:
        """Of images."""
        return int(self._inputs.shape[2])

    @property
    def values_per_input(self) -> int:
        """Channels × height × width of an image, features of a table."""
        return self._inputs[0].numel()

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
            augmented: a run's seed and the steps it has taken, to crop and flip images at random.
        """
        chunk = max(1, CHUNK_VALUES // (self.values_per_input * size)) * size
        count = len(self) if order is None else int(order.shape[0])
        for start in range(0, count, chunk):
            stop = min(start + chunk, count)
            pick = slice(start, stop) if order is None else order[start:stop]
            chosen = None
            if augmented is not None:
                seed, step = augmented
                first, last = start // size, -(-stop // size)
                steps = torch.arange(step + first, step + last, device=self._labels.device)
                bits = augmentation_bits(size, seed=seed, steps=steps).flatten()[: stop - start]
                chosen = crops(bits, self.width)
            inputs, labels = self.gather(pick, chosen)
            yield from zip(
                torch.split(inputs.movedim(-1, 1), size),
                torch.split(labels, size),
                strict=True,
            )

    def gather(self, pick: Tensor | slice, chosen: Tensor | None = None) -> Batch:
        """Take some examples.

        Args:
            pick: which, int64 of any shape, or a slice.
            chosen: int64 [2, *pick.shape], how images are cropped and flipped, see
                :func:`indian_tune.training.augmentation.crops`; ``None`` to leave them.

        Returns:
            Inputs [*pick.shape, …, channels] and labels [*pick.shape].
        """
        raw = self._inputs[pick]
        if raw.dtype == torch.int64:
            return raw, self._labels[pick]
        if chosen is not None:
            raw = cut(raw, chosen, self._patterns)
        if raw.is_floating_point():
            # A copy, since a slice of inputs that are stored in this very type is no copy yet.
            values = raw.to(self._gain.dtype, copy=True).mul_(self._gain)
        else:
            values = raw * self._gain
        return values.add_(self._offset), self._labels[pick]


def normalisation(
    problem: Problem, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return what an input is multiplied by, and what is then added, per channel or for all."""
    std = torch.tensor(problem.std, dtype=torch.float64)
    mean = torch.tensor(problem.mean, dtype=torch.float64)
    gain = (1 / (problem.scale * std)).to(device, dtype)
    return gain, (-mean / std).to(device, dtype)


def epoch_order(count: int, *, seed: int, epoch: int) -> Tensor:
    """Return the order in which an epoch visits the training set, a function of its arguments.

    Args:
        count: number of training examples.
        seed: the run's.
        epoch: counted from 1.

    Returns:
        int64 [count], a permutation, on the CPU.
    """
    return torch.randperm(count, generator=generator("order", seed, epoch))


def fixed_subset(split: Split, size: int | None) -> Split:
    """Return ``size`` examples of a split, the same for all runs; the split itself if ``None``.

    They keep their order in the split.
    """
    if size is None or size >= len(split):
        return split
    source = generator("training metrics", len(split))
    pick = torch.randperm(len(split), generator=source)[:size].sort().values
    return split.at(pick)


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """Return a hash of types, shapes and values, as hexadecimal digits."""
    digest = blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
