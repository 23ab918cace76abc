"""What is measured of a run after every epoch; the one place where a metric is declared.

Evaluation, ledger, frames, exports and `show` take every metric from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

OPEN = ("train", "validation")
"""Splits on which choices may rest."""

SEALED = ("test",)
"""Splits whose metrics are read only after a study was unsealed."""


@dataclass(frozen=True)
class Metric:
    """A mean over the examples of a split.

    Attributes:
        title: what it is in words, as it heads a column for people.
        total: outputs [N, classes] and targets [N] of a batch → sum over its examples, a scalar.
        share: it is a share of right examples in [0, 1]; people are shown the wrong ones in %.
    """

    title: str
    total: Callable[[Tensor, Tensor], Tensor]
    share: bool = False


def metric_names(splits: tuple[str, ...]) -> list[str]:
    """Return the names under which the metrics of some splits are recorded: ``train_loss``."""
    return [f"{split}_{name}" for split in splits for name in METRICS]


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """In nats, computed in float64."""
    from torch.nn import functional

    return functional.cross_entropy(outputs.double(), targets, reduction="sum")


def _correct(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(1) == targets).sum()


METRICS = {
    "loss": Metric("loss", _cross_entropy),
    "accuracy": Metric("error", _correct, share=True),
}
"""Name → metric, in the order in which they are recorded and shown."""
