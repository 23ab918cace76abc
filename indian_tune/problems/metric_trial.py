"""Whether the metrics of a user's own can be measured, and are means over examples."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch

from indian_tune.errors import InputError
from indian_tune.problems.network_advice import warn
from indian_tune.problems.network_trial import same_values
from indian_tune.problems.task import MetricError

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.problems.problem import Split
    from indian_tune.problems.task import OwnMetric, Task

__all__ = ["try_metrics"]

# Examples with drawn outputs, and numbers that these may be.
DRAWN, NUMBERS = 64, 2**22
# Share of the largest value, far above the rounding of float32.
TOLERANCE = 1e-3


def try_metrics(
    task: Task, outputs: Tensor, labels: Tensor, train: Split, where: str, *, registered: bool
) -> None:
    """Measure a few examples, as the trainer does after every epoch.

    A metric that gives one number for a batch is measured on parts of the batch as well.

    Args:
        task: with the metrics.
        outputs: of a network in eval mode.
        labels: of the same examples.
        train: where more labels come from.
        where: the key that names the problem, for the messages.
        registered: whether the study is registered: then its metric is kept, with a warning.

    Raises:
        InputError: a metric of one's own raises, returns no numbers, changes labels, or is no mean.
    """
    try:
        with torch.inference_mode():
            task.totals(outputs, labels.clone())
            for name, own in task.own:
                with warnings.catch_warnings():
                    # Of parts that have one class alone.
                    warnings.simplefilter("ignore")
                    fault = _change_fault(own, name, outputs, labels)
                    fault = fault or _mean_fault(own, name, outputs, labels, train)
                if fault is not None and not registered:
                    raise InputError(f"{where}: {fault}")
                if fault is not None:
                    warn("%s: %s", where, fault)
    except MetricError as error:
        raise InputError(f"{where}: {error}") from error


def _change_fault(own: OwnMetric, name: str, outputs: Tensor, labels: Tensor) -> str | None:
    """Return that a metric changes the labels that it is given, ``None`` if it does not."""
    given = labels.clone()
    own.total(name, outputs.clone(), given)
    # Labels that are missing may be NaN.
    if same_values(given, labels):
        return None
    return (
        f"metric {name!r} of the task changes the labels that it is given, which are those of the "
        "data set: begin it with labels = labels.clone()"
    )


def _mean_fault(
    own: OwnMetric, name: str, outputs: Tensor, labels: Tensor, train: Split
) -> str | None:
    """Return how a metric differs from its mean over examples, ``None`` if it does not."""
    if len(labels) < 2 or own.function is None:
        return None
    value = torch.as_tensor(own.function(outputs, labels))
    if value.dim():
        return None
    # Of types with fewer digits than float32, their rounding.
    rounding = 4 * torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
    tolerance = max(TOLERANCE, rounding)
    # Those of an untrained network may be alike, and say nothing of a score by classes.
    for few, known in ((outputs, labels), _drawn(outputs, train)):
        found = _difference(own, name, few, known, tolerance)
        if found is not None:
            whole, mean = found
            return (
                f"metric {name!r} of the task is not a mean over examples: on {len(known)} "
                f"examples it is {whole:.4g}, but its mean over two parts of them is {mean:.4g}. "
                "Its values are averaged over batches, so a metric such as RMSE, F1, AUC or R² "
                "would depend on the batches. Use a metric that is a mean (the MSE ranks models "
                "as the RMSE does), or compute yours over all examples in your own training loop "
                "(indian_tune.Loop). If it is a mean, return a value per example"
            )
    return None


def _drawn(outputs: Tensor, train: Split) -> tuple[Tensor, Tensor]:
    """Return outputs that differ from example to example, and labels from all over the split."""
    labels = train.sample().labels
    count = min(len(labels), max(len(outputs), min(DRAWN, NUMBERS // outputs[0].numel())))
    # In the middle of each of as many parts.
    places = (2 * torch.arange(count) + 1) * len(labels) // (2 * count)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(count, *outputs.shape[1:], generator=generator, dtype=outputs.dtype)
    # Larger and larger, so that parts of the examples have other errors than the rest.
    scales = torch.linspace(0.1, 4, count, dtype=outputs.dtype)
    return drawn * scales.view(-1, *[1] * (outputs.dim() - 1)), labels[places]


def _difference(
    own: OwnMetric, name: str, outputs: Tensor, labels: Tensor, tolerance: float
) -> tuple[float, float] | None:
    """Return the metric and its mean over two parts, of the first parts where they differ."""
    whole = _value(own, name, outputs, labels)
    places = torch.arange(len(labels))
    half, quarter = len(labels) // 2, max(1, len(labels) // 4)
    for first in (places < half, places % 2 == 0, places < quarter):
        parts = [
            (_value(own, name, outputs[part], labels[part]), int(part.sum()))
            for part in (first, ~first)
        ]
        mean = sum(value * count for value, count in parts) / len(labels)
        largest = max(abs(whole), *(abs(value) for value, _ in parts))
        # A score by classes may be NaN on some parts, which then tell nothing.
        if math.isfinite(largest) and abs(mean - whole) > tolerance * largest:
            return whole, mean
    return None


def _value(own: OwnMetric, name: str, outputs: Tensor, labels: Tensor) -> float:
    """Return a metric; NaN where it raises, as on examples of one class alone."""
    try:
        return own.total(name, outputs, labels).item() / len(labels)
    except MetricError:
        return math.nan
