from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn

from indian_tune.problems import build_model
from indian_tune.training.footprint import Footprint, footprint

if TYPE_CHECKING:
    from indian_tune.problems import ModelBuilder

FLOAT = 4


def count(build: ModelBuilder, family: str = "sgd", *, batch_size: int = 8) -> Footprint:
    config = {"alpha": 0.5, "beta": 0.1} if family == "indian" else {}
    return footprint(
        build,
        shape=(1, 8, 8),
        family=family,
        config={"gamma0": 0.1, **config},
        batch_size=batch_size,
        dropout=0.0,
    )


def linear(*, seed: int, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


nin = functools.partial(build_model, "nin-small", classes=10, channels=1, size=8)


def test_a_linear_layer_keeps_its_images_and_the_loss_its_probabilities() -> None:
    found = count(linear)
    assert found.parameters == found.gradients == 650 * FLOAT
    assert found.optimizer == 0
    labels, total_weight = 8 * 8, FLOAT
    expected = 8 * (64 + 10) * FLOAT + labels + total_weight
    assert found.activations == expected
    assert found.total == 2 * 650 * FLOAT + expected


def test_optimizers_hold_as_many_states_as_they_keep() -> None:
    parameters = count(nin).parameters
    assert parameters == 24_410 * FLOAT
    held = {family: count(nin, family).optimizer for family in ("sgd", "indian", "adam")}
    assert held["sgd"] == 0
    # And a step count for every parameter tensor.
    assert 0 <= held["indian"] - parameters < 200
    assert 0 <= held["adam"] - 2 * parameters < 200


def test_activations_grow_with_the_batch_and_nothing_else_does() -> None:
    small, large = count(nin, batch_size=8), count(nin, batch_size=32)
    assert 3.9 < large.activations / small.activations <= 4
    assert large.total - small.total == large.activations - small.activations


def test_counting_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    count(nin)
    assert torch.equal(torch.get_rng_state(), before)
