"""A problem: data and network, as the trainer needs them.

What is learned is its task: classification by default, where every example has one of ``classes``
labels, networks return a logit per class, they are trained on the mean cross-entropy, and measured
by it and by the share of examples classified correctly. Chance scores 1 - 1/classes and
log(classes). Other tasks are in :mod:`indian_tune.problems.tasks`.

The catalog's problems come from ``load_problem``; problems of one's own are made by a function that
a study file names (``problem.factory``) and returns a :class:`Problem`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    import torch
    from torch import Tensor

    from indian_tune.problems.task import Task

ENTRY_POINTS = "indian_tune.problems"
"""Group by which an installed package names the functions that make its problems."""


@dataclass(frozen=True)
class Split:
    """A part of a data set, held in memory on the CPU.

    Attributes:
        inputs: shape [N, channels, …]: images [N, channels, height, width], rows of a table
            [N, features], or whatever else the network takes. uint8 or floating numbers, which are
            normalised when used, or int64 such as tokens, which stay as they are.
        labels: of classification int64, shape [N], values in 0 … classes - 1; of another task as
            that says.
        columns: names of the features of a table; empty for other inputs.
    """

    inputs: Tensor
    labels: Tensor
    columns: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)

    streamed = False
    """Whether the examples are read as they are used; see :class:`indian_tune.problems.Stream`."""

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    @property
    def nbytes(self) -> int:
        """Memory of the examples and their labels."""
        return self.inputs.nbytes + self.labels.nbytes

    def sample(self) -> Split:
        """Return what tells of which kind the examples are: all of them."""
        return self

    def first(self, count: int) -> Split:
        """Return the first examples."""
        return Split(self.inputs[:count], self.labels[:count])

    def at(self, positions: Tensor) -> Split:
        """Return some of the examples, by their positions, int64."""
        return Split(self.inputs[positions], self.labels[positions])

    def joined(self, other: Split) -> Split:
        """Return these examples and others after them."""
        import torch

        return Split(torch.cat([self.inputs, other.inputs]), torch.cat([self.labels, other.labels]))

    @classmethod
    def from_dataset(cls, dataset: Any, task: Task | str = "classification") -> Split:
        """Read a data set of torch's into memory, example by example in its order.

        Args:
            dataset: has a length, and its items are pairs: an input (a tensor, or what numpy makes
                an array of) and a label (of classification a whole number, of a regression a number
                or several, of tokens whole numbers).
            task: what the labels are of.

        Raises:
            InputError: it has no length, an item is something else or of another shape, or its
                transform is random: every item is read once.
        """
        from indian_tune.problems.conversion import split_of_dataset

        return cls(*split_of_dataset(dataset, task))

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame | str | Path,
        label: str | Sequence[str],
        task: Task | str = "classification",
    ) -> Split:
        """Read a table: float32 inputs [N, features], one for each column but those of the labels.

        A ``Problem`` brings the columns of its parts into the order of the training part, by name.

        Args:
            frame: a data frame, or the path of a CSV file.
            label: column of the labels, whole numbers from 0; of a regression any numbers, or
                several columns, of which the labels are [N, columns].
            task: what the labels are of.

        Raises:
            InputError: the file cannot be read, there is no such column, or a column is no number.
        """
        from indian_tune.problems.conversion import split_of_frame

        inputs, labels, columns = split_of_frame(frame, label, task)
        return cls(inputs, labels)._named(columns)

    def in_order(self, columns: tuple[str, ...], part: str) -> Split:
        """Return the examples with their features in the order of the training table.

        Args:
            columns: of the training table.
            part: name of this part, for the message.

        Raises:
            InputError: a column is missing, or one is there that the training table has not.
        """
        missing, unknown = set(columns) - set(self.columns), set(self.columns) - set(columns)
        if missing or unknown:
            said = [
                f"{what} {', '.join(map(repr, sorted(names)))}"
                for what, names in (("it lacks", missing), ("it alone has", unknown))
                if names
            ]
            raise InputError(
                f"the {part} table has other columns than the training table: "
                f"{' and '.join(said)}; give all parts the same columns, in any order"
            )
        places = [self.columns.index(name) for name in columns]
        return Split(self.inputs[:, places], self.labels)._named(columns)

    def _named(self, columns: tuple[str, ...]) -> Split:
        object.__setattr__(self, "columns", columns)
        return self


class ModelBuilder(Protocol):
    """Makes a network whose initial weights are a function of ``seed`` alone.

    torch's global generator is seeded from ``seed`` before every call, so what a layer of torch
    draws by itself is such a function. Networks that drop values should do so by
    :class:`indian_tune.problems.models.CounterDropout`: its masks need no global generator, so
    that runs can be packed.
    """

    def __call__(self, *, seed: int, dropout: float) -> torch.nn.Module:
        """Return the network on the CPU in float32, in training mode.

        It maps inputs [B, channels, …] to logits [B, classes], or to what the task says.

        Args:
            seed: of the run.
            dropout: rate, in [0, 1), as the study or the arm's configuration gives it.
        """
        ...


@dataclass(frozen=True)
class Problem:
    """What is trained, and on what.

    An input x is normalised as (x / scale - mean) / std; the defaults leave it as it is.

    Attributes:
        dataset: its name, in the catalog or of one's own.
        model: name of the network, in the catalog or of one's own.
        classes: number of classes; of a regression, of numbers that are predicted.
        train: what the optimizer sees. In memory, or a :class:`indian_tune.problems.Stream` (a
            factory may return a ``DataLoader``, which becomes one) of what does not fit there.
        test: the sealed test examples.
        build_model: network for a seed and a dropout rate.
        validation: held out of the training examples (honest mode); ``None`` in paper mode, and in
            what a factory returns to have it split off as the study file says.
        mean: per channel, of the training inputs divided by ``scale``; or one number for all.
        std: likewise.
        scale: what a raw input is divided by, such as 255 for the pixels of most images.
        task: what is learned: its name, or a :class:`indian_tune.problems.Task`.

    Raises:
        InputError: the parts come from tables with other columns than the training part.
    """

    dataset: str
    model: str
    classes: int
    train: Split
    test: Split
    build_model: ModelBuilder
    validation: Split | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0
    task: Task | str = "classification"

    def __post_init__(self) -> None:
        wanted = getattr(self.train, "columns", ())
        for part in ("validation", "test"):
            split = getattr(self, part)
            given = getattr(split, "columns", ())
            if wanted and given and given != wanted:
                object.__setattr__(self, part, split.in_order(wanted, part))

    @property
    def nbytes(self) -> int:
        """Memory of all examples and their labels."""
        splits = (self.train, self.validation, self.test)
        return sum(split.nbytes for split in splits if split is not None)
