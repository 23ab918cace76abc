"""What goes into a run and what comes out of each of its epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Run:
    """One training of one configuration with one seed.

    Attributes:
        key: names the run among all that share a trainer or a folder of checkpoints; any text.
        seed: of initial weights, order of the epochs and dropout masks.
        epochs: how many to train.
        family: name of the optimizer's family.
        config: hyperparameters of the optimizer; those left out take the family's defaults.
        batch_size: images per step; the last batch of an epoch may be smaller.
        dropout: rate, in [0, 1).

    Raises:
        InputError: a value is out of its range.
    """

    key: str
    seed: int
    epochs: int
    family: str
    config: Mapping[str, float]
    batch_size: int
    dropout: float

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seed", self.seed, 0),
            ("epochs", self.epochs, 1),
            ("batch_size", self.batch_size, 1),
        ):
            if value < least:
                raise InputError(f"{name} = {value!r} is not allowed: {least} or more is")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout = {self.dropout!r} is not allowed: a rate in [0, 1) is")
        object.__setattr__(self, "config", dict(self.config))


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch of one run came to.

    Losses are mean cross-entropies in nats and accuracies shares in [0, 1], measured after the
    epoch in evaluation mode (dropout off). In the record of a diverged run they are all NaN.

    Two records are equal if all but their ``seconds`` are.

    Attributes:
        key: of the run.
        epoch: counted from 1.
        step: optimizer steps taken since the run began.
        train_loss: on the training images, or on a fixed subset if the trainer was given a size.
        train_accuracy: on the same images.
        validation_loss: ``None`` if the problem has no validation part.
        validation_accuracy: likewise.
        test_loss: sealed; never to be used in choosing anything.
        test_accuracy: likewise.
        seconds: wall time of training and measuring.
        diverged: a loss was not finite; the run has ended and this is its last record.
        test_correct: sealed; at the last epoch of a run that did not diverge, which test images are
            classified correctly: a character for each, 1 or 0.
    """

    key: str
    epoch: int
    step: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    test_loss: float
    test_accuracy: float
    seconds: float = field(compare=False)
    diverged: bool
    test_correct: str | None = None
