"""How many examples a study trains and measures on, told without loading them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.problems.catalog import get_dataset_info
from indian_tune.problems.stratify import part_size

if TYPE_CHECKING:
    from indian_tune.study.file.spec import StudySpec

__all__ = ["example_counts", "shared_examples"]


def example_counts(spec: StudySpec) -> tuple[int, int, int]:
    """Return how many images there are for training, validation and testing."""
    facts = spec.problem.facts
    if facts is not None:
        return facts.train, facts.validation, facts.test
    assert spec.problem.dataset is not None
    info = get_dataset_info(spec.problem.dataset)
    sizes = spec.problem.sizes
    if sizes is not None:
        return sizes.train, sizes.validation or 0, sizes.test or info.test_images
    held_out = 0
    if spec.protocol.mode == "honest":
        held_out = part_size(spec.problem.validation_fraction, info.train_images)
    return info.train_images - held_out, held_out, info.test_images


def shared_examples(spec: StudySpec, metric: str) -> int:
    """Return on how many examples a metric of every run is measured; 0 if each search has its own.

    Args:
        spec: of the study.
        metric: a column of its epochs, such as ``test_accuracy``.
    """
    train, validation, test = example_counts(spec)
    if metric.startswith("test_"):
        return test
    if spec.problem.split == "replicate":
        return 0
    return validation if metric.startswith("validation_") else train
