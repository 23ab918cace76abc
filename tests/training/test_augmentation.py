from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import pytest
import torch

from indian_tune.errors import CheckpointError, InputError
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import CheckpointFolder, EpochRecord, Packing, Precision, Run, Trainer
from indian_tune.training.augmentation import (
    PADDING,
    augmentation_bits,
    crop_patterns,
    crops,
    cut,
)
from indian_tune.training.feed import Feed

if TYPE_CHECKING:
    from pathlib import Path

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")
SIZE = 8
SOLO: dict[str, Any] = {"packing": Packing(execution="loop")}
PACK: dict[str, Any] = {"packing": Packing(2, "matmul", execution="stacked")}


def train(problem: Problem, run: Run, **arguments: Any) -> list[EpochRecord]:
    trainer = Trainer(problem, **arguments)
    trainer.add(run)
    records = []
    while trainer.active:
        records += trainer.advance()
    return records


def bits_of(count: int, step: int = 0, seed: int = 1) -> torch.Tensor:
    return augmentation_bits(count, seed=seed, steps=torch.tensor([step]))[0]


def crop_and_flip(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[-3:-1]
    return cut(images, crops(bits, width), crop_patterns(height, width, CPU))


def test_every_shift_is_as_likely_as_any_other_and_half_are_mirrored() -> None:
    image = torch.arange(1, SIZE * SIZE + 1, dtype=torch.uint8).view(SIZE, SIZE, 1)
    black = torch.zeros(SIZE + 2 * PADDING, SIZE + 2 * PADDING, 1, dtype=torch.uint8)
    black[PADDING:-PADDING, PADDING:-PADDING] = image
    kinds = {}
    for down, right, mirrored in product(range(9), range(9), (False, True)):
        part = black[down : down + SIZE, right : right + SIZE]
        kinds[(part.flip(1) if mirrored else part).numpy().tobytes()] = 0
    assert len(kinds) == 162
    count = 162 * 100
    for one in crop_and_flip(image.expand(count, -1, -1, -1), bits_of(count)):
        kinds[one.numpy().tobytes()] += 1
    chi_square = sum((found - 100) ** 2 / 100 for found in kinds.values())
    assert 161 - 4 * 18 < chi_square < 161 + 4 * 18


def test_what_an_image_becomes_depends_on_seed_step_and_place_and_on_nothing_else() -> None:
    bits = bits_of(1000, step=5)
    assert torch.equal(bits, bits_of(1000, step=5))
    assert torch.equal(bits[:10], bits_of(10, step=5))
    for other in (bits_of(1000, step=6), bits_of(1000, step=5, seed=2)):
        assert (bits == other).float().mean() < 0.01
    together = augmentation_bits(10, seed=torch.tensor([1, 2]), steps=torch.tensor([5, 9]))
    assert torch.equal(together, torch.stack([bits_of(10, 5), bits_of(10, 9, seed=2)]))


def test_a_feed_draws_for_each_batch_by_its_step_wherever_the_feed_begins(
    problem: Problem,
) -> None:
    count = 2100
    images = torch.arange(1, 65, dtype=torch.uint8).view(1, 1, 8, 8).expand(count, -1, -1, -1)
    split = Split(inputs=images, labels=torch.zeros(count, dtype=torch.int64))
    for values in (64, 64 * 600):
        wide = images.repeat(1, values // 64, 1, 1)[:700] if values > 64 else images
        feed = Feed(Split(wide, split.labels[: len(wide)]), _plain(problem, wide.shape[1]), CPU)
        for step, (batch, _) in enumerate(feed.batches(16, augmented=(1, 40)), start=40):
            expected = crop_and_flip(
                wide[: len(batch)].permute(0, 2, 3, 1), bits_of(16, step)[: len(batch)]
            )
            assert torch.equal(batch.permute(0, 2, 3, 1), expected.float())


def _plain(problem: Problem, channels: int) -> Problem:
    return Problem(
        dataset="plain",
        model="none",
        classes=1,
        train=problem.train,
        validation=None,
        test=problem.test,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        scale=1.0,
        build_model=problem.build_model,
    )


def test_training_sees_other_images_in_every_epoch_and_measuring_the_ones_there_are(
    problem: Problem, make_run: MakeRun
) -> None:
    run = make_run(family="sgd", config={"gamma0": 1e-12}, dropout=0.0, epochs=2)
    plain, augmented = (train(problem, run, augmentation=name) for name in ("none", "crop-flip"))
    # With a step size of almost 0 the measures are those of the initial weights.
    assert augmented == plain
    run = make_run(family="sgd", config={"gamma0": 0.05}, dropout=0.0, epochs=2)
    assert train(problem, run, augmentation="crop-flip") != train(problem, run)


@pytest.mark.parametrize("arguments", [SOLO, PACK], ids=["loop", "pack"])
def test_an_augmented_run_is_the_same_to_the_bit_when_killed_after_every_epoch(
    problem: Problem, make_run: MakeRun, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    arguments = {**arguments, "augmentation": "crop-flip"}
    records = []
    for _ in range(4):
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), **arguments)
        trainer.add(make_run(key="beside", seed=2))
        trainer.add(make_run())
        records += trainer.advance()[1:]
        trainer.save()
    assert records == train(problem, make_run(), **arguments)
    assert all(
        one.metrics["train_loss"] != other.metrics["train_loss"] for one, other in pairwise(records)
    )


def test_a_pack_augments_as_the_loop_does(problem: Problem, make_run: MakeRun) -> None:
    run = make_run(dropout=0.0, epochs=2)
    loop, pack = (
        train(problem, run, precision=Precision("float64"), augmentation="crop-flip", **arguments)
        for arguments in (SOLO, PACK)
    )
    for one, other in zip(loop, pack, strict=True):
        assert one.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=1e-9)


def test_a_checkpoint_without_augmentation_is_that_of_another_run(
    problem: Problem, make_run: MakeRun, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path)
    trainer = Trainer(problem, checkpoints=folder)
    trainer.add(make_run())
    trainer.advance()
    trainer.save()
    with pytest.raises(CheckpointError, match="augmentation is 'none', not 'crop-flip'"):
        Trainer(problem, checkpoints=folder, augmentation="crop-flip").add(make_run())


def test_an_augmentation_that_is_not_known_is_refused_by_name(problem: Problem) -> None:
    with pytest.raises(InputError, match="augmentation = 'mixup' is not known"):
        Trainer(problem, augmentation="mixup")
