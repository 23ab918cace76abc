"""Regression: one number, or several, for every example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.problems.task import Metric, Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

# Digits of what is registered of the labels: means of many numbers agree in them everywhere.
DIGITS = 6


def _errors(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs.double().reshape(labels.shape) - labels.double()


def _squares(outputs: Tensor, labels: Tensor) -> Tensor:
    return _errors(outputs, labels).square().sum()


METRICS = {
    "loss": Metric("loss", _squares),
    "mse": Metric("MSE", _squares),
    "mae": Metric("MAE", lambda outputs, labels: _errors(outputs, labels).abs().sum()),
    "r2": Metric("R²", greater_is_better=True, best=1.0),
}


@dataclass(frozen=True)
class Regression(Task):
    """Outputs and labels [B, K], or labels [B] with outputs [B] or [B, 1]; K is ``classes``.

    Trained on the mean squared error, and measured by it, by the mean absolute error and by R², the
    share of the labels' variance in the split that is explained (sums over all K). Labels are used
    as they are: bring them to a scale near 1, and mind that errors are in their unit.

    Attributes:
        outcome: "mse", "mae" or "r2".
    """

    outcome: str = "mse"

    name = "regression"
    loss_unit = "mean squared error"

    def declared(self) -> Mapping[str, Metric]:
        """Return loss, MSE, MAE and R²."""
        return METRICS

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean squared error of a batch."""
        return (outputs.reshape(labels.shape) - labels).square().mean()

    def count(self, labels: Tensor) -> int:
        """Return how many numbers are predicted."""
        return labels.numel()

    def totals(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the sums of errors, and those of labels that R² needs."""
        known = labels.double().reshape(len(labels), -1)
        return {
            **super().totals(outputs, labels),
            "labels": known.sum(0),
            "squared labels": known.square().sum(),
        }

    def summary(self, totals: Mapping[str, Tensor], count: int, examples: int) -> dict[str, float]:
        """Return the means, and R²; NaN where all labels are equal."""
        made = super().summary(totals, count, examples)
        around = float(totals["squared labels"] - (totals["labels"].square() / examples).sum())
        r2 = 1 - made["mse"] * count / around if around > 0 else float("nan")
        return {name: r2 if name == "r2" else made[name] for name in self.metrics}

    def output_shapes(self, labels: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
        """Return the shape of the labels; for labels [B] also [B, 1]."""
        shape = tuple(labels.shape)
        return ((*shape, 1), shape) if labels.dim() == 1 else (shape,)

    def label_fault(self, labels: Tensor, classes: int) -> str | None:
        """Ask for finite floating numbers [N], or [N, classes]."""
        if not labels.is_floating_point() or labels.dim() not in (1, 2):
            return (
                f"has labels of {labels.dtype} and shape {list(labels.shape)}: for task "
                "'regression' they must be floating point of shape [N] or [N, numbers]"
            )
        if not bool(labels.isfinite().all()):
            return "has labels that are not finite"
        width = labels.shape[1] if labels.dim() == 2 else 1
        if width != classes:
            return (
                f"has labels of {width} numbers per example: give classes = {width}, not {classes}"
            )
        return None

    def baseline(self, labels: Tensor | None, classes: int) -> dict[str, float]:
        """Return what the best constant scores on the training labels: their mean, or median."""
        del classes
        if labels is None:
            raise InputError(
                "task = 'regression' with your own training loop needs chance = …, the "
                f"{self.metrics[self.outcome].title} of a model that has learned nothing, which "
                "runs that diverge are given: give it to Loop"
            )
        known = labels.double()
        away = known - known.mean(0)
        spread = float(f"{float(away.square().mean()):.{DIGITS}g}")
        if not spread > 0:
            raise InputError("its training labels are all equal: give labels that vary")
        # No constant has a smaller absolute error than the median.
        beside = known - known.median(0).values
        absolute = float(f"{float(beside.abs().mean()):.{DIGITS}g}")
        return {"loss": spread, "mse": spread, "mae": absolute, "r2": 0.0}


TASK = Regression()
