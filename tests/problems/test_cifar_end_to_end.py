from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from indian_tune.problems import Problem, fetch, load_problem
from indian_tune.training import Run, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.problems.conftest import Mirror, Small


def loss_before_training(problem: Problem, seed: int) -> float:
    network = problem.build_model(seed=seed, dropout=0.0)
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (problem.mean, problem.std))
    with torch.inference_mode():
        images = (problem.train.inputs / problem.scale - mean) / std
        return float(cross_entropy(network(images), problem.train.labels))


def test_cifar100_is_fetched_loaded_and_trained_on(
    small_cifar100: Small, serve: Callable[[Path], Mirror], data: Path
) -> None:
    fetch(small_cifar100.info, data, mirror=serve(small_cifar100.mirror).address)
    problem = load_problem(dataset=small_cifar100.info, model="nin", width=0.1, data_dir=data)
    trainer = Trainer(problem)
    trainer.add(Run("one", 0, 1, "adam", {"gamma0": 1e-3}, batch_size=32, dropout=0.0))
    (record,) = trainer.advance()
    assert trainer.active == ()
    assert (record.epoch, record.step) == (1, math.ceil(270 / 32))
    assert record.metrics["train_loss"] < loss_before_training(problem, 0)
    assert math.isfinite(record.metrics["validation_loss"])
    assert math.isfinite(record.sealed["test_loss"])
