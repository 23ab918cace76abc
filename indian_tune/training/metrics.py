"""What is measured of a run after every epoch: the metrics of its task, on every split.

A task declares its metrics; evaluation, ledger, frames, exports and `show` take them from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.problems.task import Metric
from indian_tune.problems.tasks.classification import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["METRICS", "OPEN", "SEALED", "Metric", "metric_names"]

OPEN = ("train", "validation")
"""Splits on which choices may rest."""

SEALED = ("test",)
"""Splits whose metrics are read only after a study was unsealed."""


def metric_names(splits: tuple[str, ...], metrics: Iterable[str] | None = None) -> list[str]:
    """Return the names under which metrics of some splits are recorded: ``train_loss``.

    Args:
        splits: their names.
        metrics: of the task; those of classification by default.
    """
    names = list(METRICS if metrics is None else metrics)
    return [f"{split}_{name}" for split in splits for name in names]
