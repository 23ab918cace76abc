from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from indian_tune.problems.problem import Problem, Split
from indian_tune.problems.randomness import generator
from indian_tune.training import feed as feed_module
from indian_tune.training.feed import Feed, epoch_order, fingerprint, fixed_subset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indian_tune.training.feed import Batch

CPU = torch.device("cpu")


@pytest.fixture
def colour(problem: Problem) -> Problem:
    """23 colour images of 4×5 pixels, with their own mean and spread in each channel."""
    images = torch.randint(0, 256, (23, 3, 4, 5), generator=generator("colour"))
    split = Split(inputs=images.to(torch.uint8), labels=torch.arange(23))
    return replace(problem, train=split, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))


def joined(batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_images_are_normalised_per_channel_and_channels_last(colour: Problem) -> None:
    images, labels = joined(Feed(colour.train, colour, CPU).batches(7))
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (colour.mean, colour.std))
    expected = (colour.train.inputs / 255 - mean) / std
    torch.testing.assert_close(images, expected, atol=2e-6, rtol=0)
    assert torch.equal(labels, colour.train.labels)
    first, _ = next(Feed(colour.train, colour, CPU).batches(7))
    assert first.dtype == torch.float32
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_rows_of_a_table_are_normalised_per_feature_and_stay_as_they_are_stored(
    problem: Problem,
) -> None:
    rows = torch.randn(9, 3, generator=generator("rows"))
    split = Split(rows.clone(), torch.arange(9) % 3)
    own = replace(problem, train=split, mean=(0.0, 1.0, 2.0), std=(1.0, 2.0, 4.0), scale=2.0)
    feed = Feed(split, own, CPU)
    assert (feed.rank, feed.values_per_input) == (2, 3)
    expected = (rows / 2 - torch.tensor(own.mean)) / torch.tensor(own.std)
    for _ in range(2):
        inputs, _ = joined(feed.batches(4))
        torch.testing.assert_close(inputs, expected, atol=1e-6, rtol=0)
    assert torch.equal(split.inputs, rows)


def test_sequences_come_as_they_are_given_and_tokens_unchanged(problem: Problem) -> None:
    plain = replace(problem, mean=(0.0,), std=(1.0,), scale=1.0)
    waves = torch.randn(5, 2, 7, generator=generator("waves"))
    tokens = torch.randint(0, 99, (5, 7), generator=generator("tokens"))
    for stored in (waves, tokens):
        inputs, _ = joined(Feed(Split(stored, torch.arange(5)), plain, CPU).batches(2))
        assert inputs.dtype == stored.dtype
        assert torch.equal(inputs, stored)


def test_an_order_is_followed_and_the_last_smaller_batch_kept(colour: Problem) -> None:
    feed = Feed(colour.train, colour, CPU)
    order = epoch_order(23, seed=1, epoch=1)
    batches = list(feed.batches(5, order))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    images, labels = joined(batches)
    in_place, _ = joined(feed.batches(23))
    assert torch.equal(labels, order)
    assert torch.equal(images, in_place[order])


@pytest.mark.parametrize("chunk", [1, 400, 10**9])
def test_how_much_is_normalised_at_once_changes_no_bit(
    colour: Problem, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    feed = Feed(colour.train, colour, CPU)
    order = epoch_order(23, seed=1, epoch=1)
    expected = list(feed.batches(5, order))
    monkeypatch.setattr(feed_module, "CHUNK_VALUES", chunk)
    for (images, labels), (same_images, same_labels) in zip(
        feed.batches(5, order), expected, strict=True
    ):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


def test_a_batch_can_be_changed_in_place_without_harm(colour: Problem) -> None:
    feed = Feed(colour.train, colour, CPU)
    before, _ = joined(feed.batches(5))
    for images, _labels in feed.batches(5):
        images.zero_()
    after, _ = joined(feed.batches(5))
    assert torch.equal(before, after)


def test_the_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    order = epoch_order(100, seed=1, epoch=2)
    assert torch.equal(order.sort().values, torch.arange(100))
    assert torch.equal(order, epoch_order(100, seed=1, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=2, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=1, epoch=3))


def test_the_fixed_subset_is_the_same_every_time_and_in_the_order_of_the_split(
    problem: Problem,
) -> None:
    numbered = Split(inputs=problem.train.inputs, labels=torch.arange(70))
    subset = fixed_subset(numbered, 30)
    picked = subset.labels.tolist()
    assert picked == sorted(set(picked))
    assert len(picked) == 30
    assert picked != list(range(30))
    assert torch.equal(subset.inputs, numbered.inputs[subset.labels])
    assert fixed_subset(numbered, 30).labels.tolist() == picked


@pytest.mark.parametrize("size", [None, 70, 1000])
def test_the_subset_of_all_is_the_split_itself(problem: Problem, size: int | None) -> None:
    assert fixed_subset(problem.train, size) is problem.train


def test_the_fingerprint_tells_apart_values_shapes_and_types() -> None:
    base = torch.arange(6, dtype=torch.int32)
    changed = base.clone()
    changed[5] = 0
    variants = [base, changed, base.view(2, 3), base.view(3, 2), base.float(), base[:5]]
    assert len({fingerprint([each]) for each in variants}) == len(variants)
    assert fingerprint([base]) == fingerprint([base.clone()])
    transposed = base.view(2, 3).T
    assert fingerprint([transposed]) == fingerprint([transposed.contiguous()])
