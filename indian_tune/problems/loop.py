"""A loop of one's own: a function that trains, in place of a problem that the package trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Loop:
    """What trains by its own loop, and what the record and the analysis need to know of it.

    Attributes:
        train: trains one run, which it is given as an ``indian_tune.training.LoopRun``.
        dataset: name of the data.
        model: name of the network.
        classes: number of classes; what knows nothing has an error of 1 - 1/classes.
        data: what ``run.data`` gives, such as the loaders of training and validation.
        test: the sealed test loader, which ``run.sealed`` alone hands out.
    """

    train: Callable[[Any], None]
    dataset: str
    model: str
    classes: int
    data: Any = None
    test: Any = None
