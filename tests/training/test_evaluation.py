from __future__ import annotations

from math import exp, fsum, log
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from indian_tune.problems.models import dropout_layers
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import evaluation
from indian_tune.training.evaluation import correctness, evaluate
from indian_tune.training.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")


class Logits(nn.Module):
    """Says of every image the three logits that its first three pixels are."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :3]


@pytest.fixture
def make_feed() -> Callable[[Tensor, list[int]], Feed]:
    """Makes a feed of 1×1×3 images whose pixels come out as they go in."""

    def make(pixels: Tensor, labels: list[int]) -> Feed:
        split = Split(inputs=pixels.to(torch.uint8).view(-1, 1, 1, 3), labels=torch.tensor(labels))
        problem = Problem(
            dataset="",
            model="",
            classes=3,
            train=split,
            validation=None,
            test=split,
            mean=(0.0,),
            std=(1.0,),
            scale=1.0,
            build_model=lambda **_: Logits(),
        )
        return Feed(split, problem, CPU)

    return make


def test_loss_and_accuracy_are_those_computed_by_hand(
    make_feed: Callable[[Tensor, list[int]], Feed],
) -> None:
    pixels = [[1, 2, 3], [5, 0, 0], [2, 1, 0], [0, 9, 1]]
    labels = [2, 0, 1, 0]
    by_hand = [
        log(fsum(map(exp, row))) - row[label] for row, label in zip(pixels, labels, strict=True)
    ]
    measure = evaluate(Logits(), make_feed(torch.tensor(pixels), labels))
    assert measure["loss"] == pytest.approx(fsum(by_hand) / 4, rel=1e-15)
    assert measure["accuracy"] == 0.5


def test_the_loss_is_accumulated_in_float64(
    make_feed: Callable[[Tensor, list[int]], Feed],
) -> None:
    # One large loss and many tiny ones, which a float32 sum would lose.
    count = 20_000
    pixels = torch.tensor([[20, 0, 0]]).repeat(count, 1)
    labels = [1] + [0] * (count - 1)
    tiny = log(1 + 2 * exp(-20))
    measure = evaluate(Logits(), make_feed(pixels, labels))
    assert measure["loss"] == pytest.approx((20 + count * tiny) / count, rel=1e-13)


def test_dropout_is_off_and_the_network_back_in_training_afterwards(problem: Problem) -> None:
    model = problem.build_model(seed=1, dropout=0.9)
    feed = Feed(problem.test, problem, CPU)
    assert evaluate(model, feed) == evaluate(problem.build_model(seed=1, dropout=0.0), feed)
    assert all(module.training for module in model.modules())
    assert dropout_layers(model)


def test_measuring_leaves_a_network_in_evaluation_mode_as_it_was(problem: Problem) -> None:
    model = problem.build_model(seed=1, dropout=0.9).eval()
    evaluate(model, Feed(problem.test, problem, CPU))
    assert not model.training


def test_the_number_of_images_at_once_changes_only_the_last_bits(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = problem.build_model(seed=1, dropout=0.0)
    feed = Feed(problem.train, problem, CPU)
    together = evaluate(model, feed)
    monkeypatch.setattr(evaluation, "CPU_BATCH_VALUES", 1)
    apart = evaluate(model, feed)
    assert apart["accuracy"] == together["accuracy"]
    assert apart["loss"] == pytest.approx(together["loss"], rel=1e-6)


def test_correctness_is_told_image_by_image(
    make_feed: Callable[[Tensor, list[int]], Feed],
) -> None:
    feed = make_feed(torch.tensor([[1, 2, 3], [5, 0, 0], [2, 1, 0]]), [2, 0, 1])
    right = correctness(Logits(), feed)
    assert right is not None
    assert right.tolist() == [True, True, False]
