"""Data that are read as they are used give the bits of the same data in memory."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from indian_tune.errors import CheckpointError, InputError
from indian_tune.problems import Problem, Split, Stream
from indian_tune.problems.randomness import generator
from indian_tune.problems.stream import StreamError
from indian_tune.training import CheckpointFolder, Packing, Run, Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indian_tune.training import EpochRecord

LOOP = Packing(execution="loop")
RUN = Run(
    "run", 3, 3, "indian", {"gamma0": 0.1, "alpha": 0.5, "beta": 0.5}, batch_size=20, dropout=0.0
)


class Noisy(Dataset[tuple[Tensor, int]]):
    """Images to which a transform adds what torch and numpy draw."""

    def __init__(self, split: Split, scale: float = 0.1) -> None:
        self.split = split
        self.scale = scale

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, n: int) -> tuple[Tensor, int]:
        drawn = torch.randn(()) + float(np.random.standard_normal())
        return self.split.inputs[n] + self.scale * drawn, int(self.split.labels[n])


class Endless(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter(())


def in_memory(kind: str) -> Problem:
    """48 examples to learn: images of 2 classes, or a number for a row."""

    def split(name: str, count: int) -> Split:
        source = generator(name)
        if kind == "rows":
            rows = torch.randn(count, 4, generator=source)
            return Split(rows, rows.sum(1))
        images = torch.randint(0, 256, (count, 1, 4, 4), generator=source, dtype=torch.uint8)
        return Split(images, (images.float().mean((1, 2, 3)) > 127).long())

    plain = Problem(
        dataset="data",
        model="net",
        classes=2,
        train=split("train", 48),
        validation=split("validation", 21),
        test=split("test", 21),
        build_model=lambda seed, dropout: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)
        ),
        mean=(0.5,),
        std=(0.25,),
        scale=255.0,
    )
    if kind == "images":
        return plain
    build = lambda seed, dropout: nn.Linear(4, 1)  # noqa: E731
    return replace(plain, classes=1, task="regression", build_model=build, scale=1.0)


def streamed(problem: Problem, noise: float | None = None) -> Problem:
    def stream(split: Split | None) -> Any:
        assert split is not None
        if noise is not None:
            return Stream(Noisy(replace(split, inputs=split.inputs.float()), noise))
        return Stream.from_loader(DataLoader(TensorDataset(split.inputs, split.labels), 7))

    return replace(
        problem,
        train=stream(problem.train),
        validation=stream(problem.validation),
        test=stream(problem.test),
    )


def trained(problem: Problem, **how: Any) -> list[EpochRecord]:
    trainer = Trainer(problem, packing=LOOP, **how)
    trainer.add(RUN)
    found: list[EpochRecord] = []
    while trainer.active:
        found += trainer.advance()
    return [replace(record, seconds=0.0) for record in found]


@pytest.mark.parametrize("kind", ["images", "rows"])
@pytest.mark.parametrize("size", [None, 30])
def test_a_stream_gives_the_bits_of_the_same_data_in_memory(kind: str, size: int | None) -> None:
    problem = in_memory(kind)
    assert trained(streamed(problem), train_eval_size=size) == trained(
        problem, train_eval_size=size
    )


def test_a_run_on_a_stream_goes_on_to_the_bit_whatever_its_transforms_draw(tmp_path: Path) -> None:
    problem = streamed(in_memory("images"), noise=20.0)
    whole = trained(problem)
    assert whole == trained(problem)
    first = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), packing=LOOP)
    first.add(RUN)
    begun = first.advance()
    first.save()
    torch.rand(3)
    np.random.standard_normal()
    second = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), packing=LOOP)
    assert second.add(RUN) == 1
    while second.active:
        begun += second.advance()
    assert [replace(record, seconds=0.0) for record in begun] == whole
    other = streamed(replace(in_memory("images"), train=in_memory("images").test), noise=20.0)
    third = Trainer(other, checkpoints=CheckpointFolder(tmp_path), packing=LOOP)
    with pytest.raises(CheckpointError, match="training images"):
        third.add(RUN)


def test_a_stream_that_is_to_be_packed_is_looped_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        trainer = Trainer(streamed(in_memory("rows")), packing=Packing(2, execution="stacked"))
    assert trainer.pack_shape is None
    assert "read in batches are trained one run after another" in caplog.text
    with pytest.raises(
        InputError, match="augmentation = 'crop-flip' cannot be used with data that are read"
    ):
        Trainer(streamed(in_memory("images")), augmentation="crop-flip")


def test_parts_of_a_stream_stay_unread_and_their_order_is_that_of_memory() -> None:
    split = in_memory("images").train
    stream = Stream(TensorDataset(split.inputs, split.labels))
    part = stream.at(torch.tensor([5, 3, 8]))
    assert torch.equal(part.first(2).inputs, split.inputs[[5, 3]])
    both = part.joined(stream.at(torch.tensor([1])))
    assert isinstance(both, Stream)
    assert (len(both), both.nbytes, repr(both)) == (4, 0, "Stream(ConcatDataset of 4)")
    assert torch.equal(both.inputs, split.inputs[[5, 3, 8, 1]])
    assert torch.equal(both.labels, split.labels[[5, 3, 8, 1]])
    with pytest.raises(InputError, match="cannot be combined with one in memory"):
        part.joined(split)


def loader(**how: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.zeros(9, 2), torch.zeros(9).long()), **how)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (DataLoader(Endless(), 2), "is a loader without a length (Endless): give a data set with"),
        (loader(sampler=range(3)), "is a loader with its own sampler (range)"),
        (loader(batch_sampler=[[0, 1]]), "is a loader with its own sampler (list)"),
        (loader(batch_size=None), "is a loader with its own sampler (NoneType)"),
    ],
)
def test_a_loader_whose_order_is_not_known_is_refused(given: DataLoader[Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        Stream.from_loader(given)
    assert message in str(refused.value)
    assert len(Stream.from_loader(loader(shuffle=True, batch_size=4, drop_last=True))) == 9


def test_what_a_data_set_must_not_give_ends_the_run_and_is_named() -> None:
    problem = in_memory("images")
    labels = problem.train.labels.clone()
    labels[40] = 7
    broken = Stream(TensorDataset(problem.train.inputs, labels))
    trainer = Trainer(replace(streamed(problem), train=broken), packing=LOOP)
    trainer.add(RUN)
    with pytest.raises(StreamError, match=r"a batch of the data set has labels from 0 to 7"):
        trainer.advance()
    with pytest.raises(StreamError, match="gives labels of type str: a batch of 2 must be a ten"):
        Stream([(torch.zeros(2), 0)] * 2, lambda items: (torch.zeros(2, 2), "labels")).first(2)
    with pytest.raises(StreamError, match="list gives batches of type Tensor: each must be a pair"):
        Stream([torch.zeros(2)] * 2).first(2)
    several = "Stack several inputs, such as tokens and an attention mask, into one tensor"
    for item in ({"ids": torch.zeros(2)}, (torch.zeros(2),) * 3):
        with pytest.raises(StreamError, match=rf"pair of inputs and labels\. {several}"):
            Stream([item] * 2).first(2)
    with pytest.raises(StreamError, match=rf"gives inputs of type dict: .* length\. {several}"):
        Stream([({"ids": torch.zeros(2)}, 0)] * 2).first(2)
