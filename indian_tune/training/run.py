"""Input of a run and the results of its epochs."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite, nan
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
        batch_size: inputs per step; the last batch of an epoch may be smaller.
        dropout: rate, in [0, 1).
        clip_norm: largest norm of the gradient of all parameters, to which longer ones are scaled
            down; 0 for none.
        ema_decay: decay d in [0, 1) of the exponential average of the weights, which is what is
            measured and kept: after a step it is d · average + (1 - d) · weights, after the first
            step the weights. 0 for none.
        opens_test: whether a loop of one's own may measure on the test data.

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
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    opens_test: bool = False

    def __post_init__(self) -> None:
        for name, value, least in (
            ("seed", self.seed, 0),
            ("epochs", self.epochs, 1),
            ("batch_size", self.batch_size, 1),
        ):
            if value < least:
                raise InputError(f"{name} = {value!r} is not allowed: it must be at least {least}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout = {self.dropout!r} is not allowed: it must be in [0, 1)")
        if not 0 <= self.clip_norm < inf:
            raise InputError(
                f"clip_norm = {self.clip_norm!r} is not allowed: it must be finite and at least 0 "
                "(0 for none)"
            )
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay = {self.ema_decay!r} is not allowed: it must be in [0, 1)")
        object.__setattr__(self, "config", dict(self.config))


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch of one run came to, from the trainer to the ledger and back.

    Metrics are means over a split, measured after the epoch in evaluation mode (dropout off); which
    there are is said in ``training/metrics.py``. One that was not finite is NaN. In the record of a
    diverged run they are all NaN.

    Two records are equal if all but their ``seconds`` are.

    Attributes:
        epoch: counted from 1.
        step: optimizer steps taken since the run began.
        metrics: name → value on the training data, or on a fixed subset if the trainer was given a
            size, and on the validation data if the problem has any.
        seconds: wall time of training and measuring.
        sealed: name → value on the test data; never to be used in choosing anything. Empty in
            what the ledger hands out, unless the study is unsealed and they were asked for.
        test_correct: sealed; at the last epoch of a run that did not diverge, which test examples
            are classified correctly: a character for each, 1 or 0.
        key: of the run; empty in what the ledger hands out, which knows runs by their id.
        not_finite: of a diverged run, what was not finite, such as ``validation_error``; empty in
            what the ledger hands out.
    """

    epoch: int
    step: int
    metrics: Mapping[str, float]
    seconds: float = field(compare=False)
    sealed: Mapping[str, float] = field(default_factory=dict)
    test_correct: str | None = None
    key: str = ""
    not_finite: str = field(default="", compare=False)

    @property
    def diverged(self) -> bool:
        """A loss, or what runs are judged by, was not finite: this is the run's last record."""
        return not any(map(isfinite, self.metrics.values()))

    def value(self, name: str) -> float:
        """Return an open metric; NaN if it was not finite, or was not measured."""
        return self.metrics.get(name, nan)
