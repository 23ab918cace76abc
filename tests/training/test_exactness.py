"""A run's record is the same to the bit when it is repeated, resumed or trained elsewhere.

Beside which runs it is trained is the matter of test_executions.py.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from indian_tune.training import CheckpointFolder, EpochRecord, Run, Trainer, loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.problems.problem import Problem

FAMILIES = ["indian", "sgd", "adam"]


def train(problem: Problem, *runs: Run) -> list[EpochRecord]:
    """The records of the first run."""
    trainer = Trainer(problem)
    for run in runs:
        trainer.add(run)
    records = []
    while trainer.active:
        records += trainer.advance()
    return [record for record in records if record.key == runs[0].key]


class Everyday(nn.Module):
    """A network as a user writes one: initial weights and dropout from the global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.dense = nn.Linear(8 * 36, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.convolution(images))).flatten(1)
        logits: Tensor = self.dense(self.dropout(features))
        return logits


def build_everyday(*, seed: int, dropout: float) -> nn.Module:
    return Everyday()


@pytest.mark.parametrize("family", FAMILIES)
class TestTheRecordIsTheSame:
    def test_when_the_run_is_repeated(
        self, problem: Problem, make_run: Callable[..., Run], family: str
    ) -> None:
        run = make_run(family=family)
        records = train(problem, run)
        assert records == train(problem, run)
        assert [record.epoch for record in records] == [1, 2, 3, 4]
        assert len({record.metrics["train_loss"] for record in records}) == 4

    def test_when_killed_and_resumed_after_every_epoch(
        self, problem: Problem, make_run: Callable[..., Run], family: str, tmp_path: Path
    ) -> None:
        run = make_run(family=family)
        records = []
        for epoch in range(4):
            trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
            assert trainer.add(run) == epoch
            records += trainer.advance()
            trainer.save()
        assert records == train(problem, run)
        finished = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        assert finished.add(run) == 4
        assert finished.active == ()

    def test_when_killed_before_the_checkpoint_of_an_epoch(
        self, problem: Problem, make_run: Callable[..., Run], family: str, tmp_path: Path
    ) -> None:
        run = make_run(family=family)
        expected = train(problem, run)
        for _ in range(2):
            trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
            trainer.add(run)
            assert trainer.advance() == expected[:1]
        trainer.save()
        assert trainer.advance() == expected[1:2]
        resumed = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        assert resumed.add(run) == 1
        assert resumed.advance() == expected[1:2]


def test_the_record_is_the_same_in_a_fresh_process(
    problem: Problem, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    runs = [make_run(family=family) for family in FAMILIES]
    records = _train_in_a_process(problem, runs, tmp_path).records
    for run in runs:
        assert [record for record in records if record.key == run.key] == train(problem, run)


def test_a_process_that_is_killed_costs_only_the_epochs_since_the_checkpoint(
    problem: Problem, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = make_run()
    child = _train_in_a_process(problem, [run], tmp_path, kill_in_epoch=3)
    assert child.exit_code == -signal.SIGKILL
    expected = train(problem, run)
    assert child.records == expected[:2]
    trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path / "checkpoints"))
    assert trainer.add(run) == 2
    assert trainer.advance() + trainer.advance() == expected[2:]


def test_the_packages_own_networks_never_draw_from_the_global_generator(
    problem: Problem, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(problem, make_run())
    monkeypatch.setattr(loop, "seeded_global_generator", lambda *_, **__: nullcontext())
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert train(problem, make_run()) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_a_users_network_that_draws_from_the_global_generator_is_exact_too(
    problem: Problem, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    problem = replace(problem, model="everyday", build_model=build_everyday)
    run = make_run()
    torch.manual_seed(1)
    expected = train(problem, run)
    assert train(problem, make_run(seed=2)) != expected
    torch.manual_seed(2)
    records = []
    for _ in range(4):
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
        trainer.add(make_run(key="beside"))
        trainer.add(run)
        records += trainer.advance()[1:]
        trainer.save([run.key])
    assert records == expected


def test_what_a_users_network_draws_is_a_function_of_seed_and_epoch(
    problem: Problem, make_run: Callable[..., Run]
) -> None:
    def draws(seed: int) -> list[float]:
        drawn: list[float] = []

        class Drawing(Everyday):
            def forward(self, images: Tensor) -> Tensor:
                if self.training:
                    drawn.append(torch.rand(()).item())
                return super().forward(images)

        train(replace(problem, build_model=lambda **_: Drawing()), make_run(seed=seed, epochs=3))
        return drawn

    assert draws(1) == draws(1)
    assert len(set(draws(1) + draws(2))) == 2 * 3 * 5


class _Child:
    def __init__(self, exit_code: int, records: list[EpochRecord]) -> None:
        self.exit_code = exit_code
        self.records = records


def _train_in_a_process(
    problem: Problem, runs: list[Run], folder: Path, kill_in_epoch: int = 0
) -> _Child:
    """Train in a new interpreter that keeps records and checkpoints as a worker does."""
    (folder / "task").write_bytes(pickle.dumps((problem, runs, kill_in_epoch)))
    code = f"""
import os, pickle, signal
from pathlib import Path
from indian_tune.training import CheckpointFolder, Trainer

folder = Path({str(folder)!r})
problem, runs, kill_in_epoch = pickle.loads((folder / "task").read_bytes())
trainer = Trainer(problem, checkpoints=CheckpointFolder(folder / "checkpoints"))
for run in runs:
    trainer.add(run)
records = []
while trainer.active:
    if len(records) + 1 == kill_in_epoch:
        os.kill(os.getpid(), signal.SIGKILL)
    records += trainer.advance()
    (folder / "records").write_bytes(pickle.dumps(records))
    trainer.save()
"""
    process = subprocess.run([sys.executable, "-c", code], check=False)
    return _Child(process.returncode, pickle.loads((folder / "records").read_bytes()))
