from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from indian_tune.problems.models import build_model
from indian_tune.problems.problem import Problem, Split
from indian_tune.problems.randomness import generator
from indian_tune.training import Run

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 3


def _split(name: str, count: int) -> Split:
    """Noise with a bright bar at a height that tells the class."""
    source = generator(name)
    labels = torch.randint(0, CLASSES, (count,), generator=source)
    images = torch.randint(0, 60, (count, 1, 8, 8), dtype=torch.uint8, generator=source)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 2 * label + 1] += 150
    return Split(inputs=images, labels=labels)


@pytest.fixture(scope="session")
def problem() -> Problem:
    """70 training images of 3 classes for ``nin-small``, with validation and test parts."""
    return Problem(
        dataset="bars",
        model="nin-small",
        classes=CLASSES,
        train=_split("train", 70),
        validation=_split("validation", 20),
        test=_split("test", 30),
        mean=(0.2,),
        std=(0.2,),
        scale=255.0,
        build_model=partial(build_model, "nin-small", classes=CLASSES, channels=1, size=8),
    )


CONFIGS: dict[str, dict[str, float]] = {
    "indian": {"gamma0": 0.3, "alpha": 0.5, "beta": 0.1},
    "sgd": {"gamma0": 0.2},
    "adam": {"gamma0": 3e-3},
}


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Makes a run of 4 epochs of 5 steps, but for what is given."""

    def make(**changed: Any) -> Run:
        family = changed.get("family", "indian")
        arguments: dict[str, Any] = {
            "key": f"{family} run",
            "seed": 1,
            "epochs": 4,
            "family": family,
            "config": CONFIGS.get(family, {}),
            "batch_size": 16,
            "dropout": 0.3,
        }
        return Run(**arguments | changed)

    return make
