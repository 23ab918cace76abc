"""What is no image trains as well: tables, sequences and tokens, alone and in packs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from indian_tune.errors import InputError
from indian_tune.problems import CounterDropout, Problem, Split, replace_dropout
from indian_tune.problems.randomness import generator
from indian_tune.training import CheckpointFolder, EpochRecord, Packing, Run, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES = 3


class Words(nn.Module):
    """The mean of what stands for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.dense = nn.Linear(8, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.dense(self.words(tokens).mean(1))
        return logits


def table(dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), CounterDropout(dropout, layer=0), nn.Linear(16, CLASSES)
    )


def waves(dropout: float) -> nn.Module:
    return nn.Sequential(
        # A bias would have a gradient of rounding errors alone, which ADAM makes steps of.
        nn.Conv1d(2, 8, 3, bias=False),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        CounterDropout(dropout, layer=0),
        nn.Flatten(),
        nn.Linear(8 * 5, CLASSES),
    )


def words(dropout: float) -> nn.Module:
    del dropout
    return Words()


def volumes(dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 2),
        nn.ReLU(),
        nn.Flatten(),
        CounterDropout(dropout, layer=0),
        nn.Linear(32, 3),
    )


def global_dropout(dropout: float) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.Dropout(dropout), nn.Linear(16, CLASSES))


NETWORKS: dict[Callable[[float], nn.Module], tuple[int, ...]] = {
    table: (6,),
    waves: (2, 7),
    words: (5,),
    volumes: (1, 3, 3, 3),
    global_dropout: (6,),
}


def problem_for(network: Callable[[float], nn.Module]) -> Problem:
    """48 training examples of 3 classes, which noise hides only a little."""

    def split(name: str, count: int) -> Split:
        source = generator(name)
        labels = torch.arange(count) % CLASSES
        shape = (count, *NETWORKS[network])
        if network is words:
            return Split(torch.randint(0, 6, shape, generator=source) + 6 * labels[:, None], labels)
        noise = torch.randn(shape, generator=source)
        return Split(noise + labels.view(-1, *[1] * (noise.dim() - 1)), labels)

    plain = Problem(
        dataset="noise",
        model=network.__name__,
        classes=CLASSES,
        train=split("train", 48),
        validation=split("validation", 20),
        test=split("test", 20),
        build_model=lambda *, seed, dropout: network(dropout),
    )
    return plain if network is words else replace(plain, mean=(1.0,), std=(2.0,))


def runs(count: int = 2, family: str = "indian") -> list[Run]:
    configs: dict[str, dict[str, float]] = {
        "indian": {"gamma0": 0.1, "alpha": 0.5, "beta": 0.5},
        "adam": {"gamma0": 1e-2},
    }
    return [
        Run(f"{family}-{seed}", seed, 3, family, configs[family], batch_size=20, dropout=0.2)
        for seed in range(count)
    ]


LOOP = Packing(execution="loop")
PACK = Packing(2, "grouped", execution="stacked")


def trained(problem: Problem, todo: list[Run], **how: Any) -> dict[str, list[EpochRecord]]:
    trainer = Trainer(problem, **how)
    for run in todo:
        trainer.add(run)
    found: dict[str, list[EpochRecord]] = {run.key: [] for run in todo}
    while trainer.active:
        for record in trainer.advance():
            found[record.key].append(record)
    return found


@pytest.mark.parametrize("network", NETWORKS, ids=lambda each: each.__name__)
def test_a_pack_learns_what_each_run_learns_alone(network: Callable[[float], nn.Module]) -> None:
    problem, todo = problem_for(network), [*runs(), *runs(family="adam")]
    alone = {run.key: trained(problem, [run], packing=LOOP)[run.key] for run in todo}
    packed = trained(problem, todo, packing=PACK)
    for key, records in alone.items():
        for record, other in zip(records, packed[key], strict=True):
            for name in ("train_loss", "validation_loss"):
                assert other.metrics[name] == pytest.approx(record.metrics[name], rel=1e-4)
        assert records[-1].metrics["train_loss"] < records[0].metrics["train_loss"]


def test_a_network_that_draws_from_the_global_generator_is_trained_alone_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    problem = problem_for(global_dropout)
    with caplog.at_level(logging.WARNING):
        packed = trained(problem, runs(), packing=PACK)
    assert "'global_dropout' are trained one by one" in caplog.text
    assert "Return indian_tune.problems.replace_dropout(network)" in caplog.text
    assert packed == trained(problem, runs(), packing=LOOP)
    caplog.clear()
    build = problem.build_model
    replaced = replace(problem, build_model=lambda **given: replace_dropout(build(**given)))
    trained(replaced, runs(), packing=PACK)
    assert caplog.messages == []


@pytest.mark.parametrize("network", NETWORKS, ids=lambda each: each.__name__)
def test_an_interrupted_run_goes_on_to_the_same_bits(
    tmp_path: Path, network: Callable[[float], nn.Module]
) -> None:
    problem, (run,) = problem_for(network), runs(1)
    expected = trained(problem, [run])[run.key]
    first = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
    first.add(run)
    records = first.advance()
    first.save()
    second = Trainer(problem, checkpoints=CheckpointFolder(tmp_path))
    assert second.add(run) == 1
    while second.active:
        records += second.advance()
    assert records == expected


def test_only_images_are_cropped_and_flipped() -> None:
    with pytest.raises(InputError, match=r"augmentation = 'crop-flip' needs images .*\[48, 6\]"):
        Trainer(problem_for(table), augmentation="crop-flip")


class Tempered(nn.Module):
    """Changes its inputs in place; one parameter has no dimensions, another one is frozen."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dense, self.dropout = nn.Linear(6, CLASSES), CounterDropout(dropout, layer=0)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.ones(6), requires_grad=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        values = values.relu_().add_(self.shift)
        logits: torch.Tensor = self.dense(self.dropout(values)) * self.temperature
        return logits


def test_a_network_may_change_its_inputs_and_have_a_parameter_without_dimensions(
    caplog: pytest.LogCaptureFixture,
) -> None:
    problem = replace(problem_for(table), build_model=lambda *, seed, dropout: Tempered(dropout))
    packed = trained(problem, runs(), packing=PACK)
    assert caplog.messages == []
    for key, records in trained(problem, runs(), packing=LOOP).items():
        for record, other in zip(records, packed[key], strict=True):
            for name in ("train_loss", "validation_loss"):
                assert other.metrics[name] == pytest.approx(record.metrics[name], rel=1e-4)
