"""Measuring the runs of a pack together gives what measuring each alone gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from indian_tune.problems.problem import Problem, Split
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.problems.task import get_task
from indian_tune.problems.tasks.classification import Classification
from indian_tune.training import EpochRecord, Packing, Precision, Run, Trainer, pack_evaluation
from indian_tune.training import pack as packs
from tests.training.test_executions import of_everyday

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS = ("classification", "own network", "regression", "tokens")


class Characters(nn.Module):
    """A class for every character."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.out = nn.Linear(5, 8), nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        codes = nn.functional.one_hot(tokens, 5).to(self.dense.weight.dtype)
        outputs: Tensor = self.out(torch.relu(self.dense(codes)))
        return outputs


def of_task(problem: Problem, task: str) -> Problem:
    if task == "own network":
        return of_everyday(problem)
    if task == "regression":
        parts: dict[str, Any] = {
            name: Split(part.inputs, part.labels.float())
            for name in ("train", "validation", "test")
            if (part := getattr(problem, name)) is not None
        }

        def line(*, seed: int, dropout: float) -> nn.Module:
            del dropout
            with seeded_global_generator("line", seed):
                return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

        return replace(problem, task="regression", model="own", build_model=line, **parts)
    if task == "tokens":

        def characters(*, seed: int, dropout: float) -> nn.Module:
            del dropout
            with seeded_global_generator("characters", seed):
                return Characters()

        tokens = torch.arange(70 * 6).view(70, 6).square() % 5
        labels = tokens.roll(-1, 1).index_fill(1, torch.tensor([5]), -100)
        part = Split(tokens, labels)
        few = Split(tokens[:33], labels[:33])
        return Problem("text", "own", 5, part, few, characters, task="tokens")
    return problem


def trained(problem: Problem, runs: list[Run], execution: str) -> list[EpochRecord]:
    packing = Packing(2, "matmul", execution=execution)
    trainer = Trainer(problem, precision=Precision("float64"), packing=packing)
    for run in runs:
        trainer.add(run)
    records: list[EpochRecord] = []
    while trainer.active:
        records += trainer.advance()
    return records


@pytest.mark.parametrize(("task", "ema_decay"), [*((task, 0.0) for task in TASKS), (TASKS[1], 0.5)])
def test_metrics_and_right_answers_are_those_of_each_run_alone(
    problem: Problem,
    make_run: Callable[..., Run],
    task: str,
    ema_decay: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[object] = []
    measure = packs.Pack.measure

    def counted(self: packs.Pack, lives: Any) -> Any:
        measured.append(measure(self, lives))
        return measured[-1]

    monkeypatch.setattr(packs.Pack, "measure", counted)
    # Several batches, the last of which is smaller.
    monkeypatch.setattr(pack_evaluation, "MOST_INPUTS", 24)
    problem = of_task(problem, task)
    dropout = 0.3 if task == "classification" else 0.0
    runs = [
        make_run(
            key=f"{seed}",
            seed=seed,
            epochs=2,
            family="sgd",
            config={"gamma0": 1e-3},
            dropout=dropout,
            ema_decay=ema_decay,
        )
        for seed in (1, 2)
    ]
    together, alone = (trained(problem, runs, way) for way in ("stacked", "loop"))
    assert len(measured) == 2
    assert None not in measured
    for one, other in zip(together, alone, strict=True):
        assert one.metrics == pytest.approx(other.metrics, rel=1e-9)
        assert one.sealed == pytest.approx(other.sealed, rel=1e-9)
        assert one.test_correct == other.test_correct
    assert (together[-1].test_correct is not None) == (task in TASKS[:2])


class Own(Classification):
    """A task of a user's own, whose metrics read numbers."""

    def totals(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        sums = super().totals(outputs, labels)
        return {name: torch.tensor(float(total)) for name, total in sums.items()}


def test_a_task_of_a_users_own_measures_one_by_one(
    problem: Problem, make_run: Callable[..., Run]
) -> None:
    own = replace(problem, task=Own())
    (record,) = trained(own, [make_run(epochs=1)], "stacked")
    assert record.metrics["train_loss"] > 0


def test_metrics_of_a_users_own_are_measured_one_by_one(
    problem: Problem, make_run: Callable[..., Run]
) -> None:
    def confident(outputs: Tensor, labels: Tensor) -> float:
        del labels
        return outputs.softmax(1).max(1).values.mean().item()

    task = get_task("classification").with_metric("confidence", confident)
    (record,) = trained(replace(problem, task=task), [make_run(epochs=1)], "stacked")
    assert 0 < record.metrics["train_confidence"] <= 1
