"""Classification: one of several classes for every example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.problems.task import Metric, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """In nats, computed in float64."""
    from torch.nn import functional

    return functional.cross_entropy(outputs.double(), labels, reduction="sum")


def _correct(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs.argmax(1) == labels).sum()


METRICS = {
    "loss": Metric("loss", _cross_entropy),
    "accuracy": Metric(
        "error", _correct, share=True, unit="points", greater_is_better=True, best=1.0
    ),
}
"""Name → metric, in the order in which they are recorded and shown."""


@dataclass(frozen=True)
class Classification(Task):
    """Logits [B, classes] and labels int64 [B]; trained on the mean cross-entropy in nats."""

    outcome: str = "accuracy"

    name = "classification"
    loss_unit = "cross-entropy"

    def declared(self) -> Mapping[str, Metric]:
        """Return loss and accuracy."""
        return METRICS

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, labels)

    def lane_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of every lane, of logits [K, B, classes]."""
        from torch.nn import functional

        losses = functional.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
        return losses.view(labels.shape).mean(1)

    def summed_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the summed cross-entropy of a batch."""
        from torch.nn import functional

        return functional.cross_entropy(outputs, labels, reduction="sum")

    def correct(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return which examples have the largest logit at their label."""
        return outputs.argmax(1) == labels

    def output_shapes(self, labels: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
        """Return the shape of one logit per class."""
        return ((len(labels), classes),)

    def label_fault(self, labels: Tensor, classes: int) -> str | None:
        """Ask for int64 [N] from 0 to classes - 1."""
        if str(labels.dtype) != "torch.int64" or labels.dim() != 1:
            return (
                f"has labels of {labels.dtype} and shape {list(labels.shape)}: for task "
                f"'classification' they must be int64 of shape [N]; {_remedy(labels, classes)}"
            )
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            return (
                f"has labels from {low} to {high}: with classes = {classes}, labels must be 0 to "
                f"{classes - 1}"
            )
        return None

    def class_fault(self, classes: int) -> str | None:
        """Ask for two classes or more."""
        if classes < 2:
            return (
                f"its classes must be a whole number of at least 2, got {classes!r}; to predict "
                "numbers, give the problem task = 'regression'"
            )
        return None

    def strata(self, labels: Tensor) -> Tensor:
        """Return the labels: splits have the classes in the same proportions."""
        return labels

    def baseline(self, labels: Tensor | None, classes: int) -> dict[str, float]:
        """Return what equal probabilities score."""
        del labels
        return {"loss": math.log(classes), "accuracy": 1 / classes}


def _remedy(labels: Tensor, classes: int) -> str:
    if labels.dim() == 2 and labels.shape[1] == classes and _one_hot(labels):
        return "these are one-hot: give labels.argmax(1)"
    if labels.is_floating_point():
        return "to predict numbers, give the problem task = 'regression'"
    if labels.dim() == 2 and labels.shape[1] > 1:
        return "for a label per token, give the problem task = 'tokens'"
    cast = "" if str(labels.dtype) == "torch.int64" else ".long()"
    if labels.dim() == 2:
        return f"flatten them with labels.squeeze(1){cast}"
    if labels.dim() == 1:
        return f"give labels{cast}"
    return "for any other task, use your own training loop (indian_tune.Loop)"


def _one_hot(labels: Tensor) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())


TASK = Classification()
