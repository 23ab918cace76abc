"""A user's own training loop, in place of a problem that the package trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.problems.task import Task


@dataclass(frozen=True)
class Loop:
    """What trains by its own loop, and what the record and the analysis need to know of it.

    Attributes:
        train: trains one run, which it is given as an ``indian_tune.training.LoopRun``; ``None``
            where the program trains them itself, see :func:`indian_tune.register`.
        dataset: name of the data.
        model: name of the network.
        classes: number of classes; of a regression, of numbers that are predicted.
        data: what ``run.data`` gives, such as the loaders of training and validation. All runs
            share it, so it must not be an iterator.
        test: the sealed test loader, which ``run.sealed`` alone hands out. With it every report
            must have a ``test_error``.
        task: what is learned, which says what an ``error`` is that the loop reports: its name, or a
            :class:`indian_tune.problems.Task`. With a metric of one's own and
            ``greater_is_better=True``, report the metric itself as ``error``, see
            :meth:`indian_tune.problems.Task.with_metric`.
        chance: what a model that has learned nothing scores by the metric that the task is judged
            by, such as the MSE; runs that diverge are given it, as their loss too. Needed for a
            regression without a metric of one's own with a ``chance``; ``None`` where the task
            tells it by the number of classes. Plain classification does not use it.

    Raises:
        InputError: ``data`` or ``test`` is an iterator, or a list or tuple that has one.
    """

    train: Callable[[Any], None] | None
    dataset: str
    model: str
    classes: int
    data: Any = None
    test: Any = None
    task: Task | str = "classification"
    chance: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("data", self.data), ("test", self.test)):
            parts = value if isinstance(value, (list, tuple)) else (value,)
            for part in parts:
                # One that can be reset serves more than one run.
                if isinstance(part, Iterator) and not hasattr(part, "reset"):
                    raise InputError(
                        f"{name} of Loop contains an iterator ({type(part).__name__}), which is "
                        "used up after one epoch, but all runs share it: give what it iterates "
                        "over, such as a list or a DataLoader, and call iter() in train"
                    )
        chance: Any = self.chance
        if type(chance) not in (bool, int, float) and isinstance(chance, Real):
            # NumPy's, which cannot be recorded.
            object.__setattr__(self, "chance", float(chance))
