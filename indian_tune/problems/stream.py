"""Data that do not fit in memory: read batch by batch, in a deterministic order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
)

from indian_tune.errors import InputError
from indian_tune.problems.conversion import NARROWED, place_of, several_inputs
from indian_tune.problems.problem import Split
from indian_tune.problems.randomness import seeded_global_generator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

SAMPLED = 256
"""Examples that are read of a stream to tell what it is: evenly spaced, the same everywhere."""


class StreamError(RuntimeError):
    """A data set gives, in the middle of training, what cannot be trained on.

    To a worker it is like any exception of a model, which ends an attempt and no search; so it is
    no ``IndianTuneError``.
    """


class Stream(Split):
    """A part of a data set that is read again in every epoch.

    Slower than a plain ``Split``, which is read once and lives on the device: every epoch loads and
    collates every example, one run after another. The order is the same, a function of the run's
    seed and the epoch, so that an interrupted run continues to the bit. What a transform draws
    from torch's, numpy's and Python's global generators is such a function too.

    Args:
        dataset: has a length and examples by index.
        collate: list of examples → a pair of tensors, inputs [B, …] and labels [B, …].
        loader_batch_size: of the loader that it comes from, which is not used; ``None`` without
            one.
    """

    streamed = True
    dataset: Any
    collate: Callable[[list[Any]], Any]
    loader_batch_size: int | None

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Any] = default_collate,
        loader_batch_size: int | None = None,
    ) -> None:
        vars(self).update(dataset=dataset, collate=collate, loader_batch_size=loader_batch_size)

    def __repr__(self) -> str:
        return f"Stream({type(self.dataset).__name__} of {len(self):,})"

    @property
    def inputs(self) -> Tensor:
        """All inputs, read into memory."""
        return self.read(range(len(self))).inputs

    @property
    def labels(self) -> Tensor:
        """All labels; reads the inputs too."""
        return self.read(range(len(self))).labels

    @classmethod
    def from_loader(cls, loader: DataLoader[Any]) -> Stream:
        """Return the data of a loader, with its ``collate_fn``.

        Batch size, order and workers are not taken over: the study says how large a batch is, the
        run's seed in which order, and the search has worker processes of its own.

        Raises:
            InputError: its data set has no length, or it draws examples by a sampler of its own.
        """
        dataset = loader.dataset
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
            raise InputError(
                f"is a loader without a length ({type(dataset).__name__}): give a data set with "
                "__len__ and __getitem__, which has the same examples in every epoch, or use "
                "your own training loop (indian_tune.Loop)"
            )
        sampler = loader.sampler
        plain = isinstance(sampler, SequentialSampler) or (
            isinstance(sampler, RandomSampler) and not sampler.replacement
        )
        batches = type(loader.batch_sampler)
        if not plain or len(loader.sampler) != len(dataset) or batches is not BatchSampler:  # type: ignore[arg-type]
            named = batches.__name__ if plain else type(sampler).__name__
            raise InputError(
                f"is a loader with its own sampler ({named}), but the order must depend on seed "
                "and epoch only: give a loader with a batch size and no sampler, or use your own "
                "training loop (indian_tune.Loop)"
            )
        return cls(dataset, loader.collate_fn, loader.batch_size)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def nbytes(self) -> int:
        """Memory that it holds: none to speak of."""
        return 0

    def read(self, positions: Sequence[int]) -> Split:
        """Read some examples, in the order given.

        Raises:
            StreamError: they do not collate to a pair of tensors.
        """
        many = getattr(self.dataset, "__getitems__", None)
        chosen = list(positions)
        items = many(chosen) if callable(many) else [self._item(n) for n in chosen]
        batch = self.collate(items)
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise StreamError(
                f"{type(self.dataset).__name__} gives batches of type {type(batch).__name__}: each "
                f"must be a pair of inputs and labels{several_inputs(batch)}"
            )
        inputs, labels = batch
        found: dict[str, object] = {"inputs": inputs, "labels": labels}
        for name, tensor in found.items():
            if not isinstance(tensor, torch.Tensor) or len(tensor) != len(chosen):
                raise StreamError(
                    f"{type(self.dataset).__name__} gives {name} of type {type(tensor).__name__}: "
                    f"a batch of {len(chosen)} must be a tensor of that length"
                    f"{several_inputs(tensor)}"
                )
        return Split(_narrowed(inputs), _narrowed(labels))

    def _item(self, n: int) -> Any:
        try:
            return self.dataset[n]
        except Exception as error:
            error.add_note(place_of(self.dataset, n))
            raise

    def sample(self) -> Split:
        """Read up to :data:`SAMPLED` examples, evenly spaced."""
        count = min(len(self), SAMPLED)
        return self._read_alike([n * len(self) // count for n in range(count)])

    def first(self, count: int) -> Split:
        """Read the first examples."""
        return self._read_alike(range(min(count, len(self))))

    def _read_alike(self, positions: Sequence[int]) -> Split:
        """Read some examples; what transforms draw is the same in every process."""
        states = random.getstate(), np.random.get_state()
        try:
            with seeded_global_generator("stream"):
                seed_transforms()
                return self.read(positions)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])

    def at(self, positions: Tensor) -> Stream:
        """Return some of the examples, by their positions, int64; still unread."""
        chosen = Subset(self.dataset, positions.tolist())
        return Stream(chosen, self.collate, self.loader_batch_size)

    def joined(self, other: Split) -> Stream:
        """Return these examples and others after them."""
        if not isinstance(other, Stream):
            raise InputError("a part that is read in batches cannot be combined with one in memory")
        both: Any = ConcatDataset([self.dataset, other.dataset])
        return Stream(both, self.collate, self.loader_batch_size)


def seed_transforms() -> None:
    """Seed Python's and numpy's global generators from torch's, for transforms that draw."""
    word = int(torch.randint(2**31, ()))
    random.seed(word)
    np.random.seed(word)


def _narrowed(tensor: Tensor) -> Tensor:
    return tensor.to(NARROWED.get(tensor.dtype, tensor.dtype))
