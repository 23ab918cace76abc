"""Tokens: a class at every position of a sequence, such as the next character."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.problems.task import Metric, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

METRICS = {
    "loss": Metric("loss"),
    "bits": Metric("bits per token", unit="bits per token"),
    "perplexity": Metric("perplexity"),
}


@dataclass(frozen=True)
class Tokens(Task):
    """Logits [B, T, classes] and labels int64 [B, T]; trained on the mean cross-entropy per token.

    Attributes:
        outcome: "bits" (cross-entropy in bits per token) or "perplexity", its exponential.
        ignored: label of the places that do not count, such as padding.
    """

    outcome: str = "bits"
    ignored: int = -100

    name = "tokens"
    loss_unit = "cross-entropy per token"

    def declared(self) -> Mapping[str, Metric]:
        """Return loss (nats per token), bits per token and perplexity."""
        return METRICS

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats over the tokens that count; 0 without one."""
        # A mean over no token would be NaN, and end the run as diverged.
        return self._sum(outputs, labels) / (labels != self.ignored).sum().clamp(min=1)

    def summed_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the summed cross-entropy of a batch."""
        return self._sum(outputs, labels)

    def count(self, labels: Tensor) -> int:
        """Return how many tokens count."""
        return int((labels != self.ignored).sum())

    def totals(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the summed cross-entropy, computed in float64."""
        summed = {"loss": self._sum(outputs.double(), labels)}
        return {**super().totals(outputs, labels), **summed}

    def summary(self, totals: Mapping[str, Tensor], count: int, examples: int) -> dict[str, float]:
        """Return the cross-entropy in nats, in bits, and its exponential."""
        made = super().summary(totals, count, examples)
        loss = made["loss"]
        perplexity = math.inf if loss > math.log(1e300) else math.exp(loss)
        made |= {"bits": loss / math.log(2), "perplexity": perplexity}
        return {name: made[name] for name in self.metrics}

    def output_shapes(self, labels: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
        """Return the shape of one logit per class and token."""
        return ((*labels.shape, classes),)

    def label_fault(self, labels: Tensor, classes: int) -> str | None:
        """Ask for int64 [N, T] from 0 to classes - 1, or ``ignored``."""
        if str(labels.dtype) != "torch.int64" or labels.dim() != 2:
            way = (
                "give labels.long()"
                if labels.dim() == 2
                else "for one label per example, remove task"
            )
            return (
                f"has labels of {labels.dtype} and shape {list(labels.shape)}: for task 'tokens' "
                f"they must be int64 of shape [N, T]; {way}"
            )
        counted = labels[labels != self.ignored]
        if not len(counted):
            return f"has only labels that are ignored ({self.ignored}): give labels to predict"
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= classes:
            return (
                f"has labels from {low} to {high}: with classes = {classes}, labels must be 0 to "
                f"{classes - 1} or {self.ignored} (ignored)"
            )
        return None

    def class_fault(self, classes: int) -> str | None:
        """Ask for two classes or more."""
        if classes < 2:
            return f"its classes must be a whole number of at least 2, got {classes!r}"
        return None

    def baseline(self, labels: Tensor | None, classes: int) -> dict[str, float]:
        """Return what equal probabilities score."""
        del labels
        loss = math.log(classes)
        return {"loss": loss, "bits": loss / math.log(2), "perplexity": float(classes)}

    def _sum(self, outputs: Tensor, labels: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.cross_entropy(
            outputs.flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=self.ignored
        )


TASK = Tokens()
