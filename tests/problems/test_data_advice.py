"""Data whose results would mislead are warned of, with numbers; usual data are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from indian_tune.problems import Problem, Split
from indian_tune.problems.data_advice import warn_of_data
from indian_tune.problems.stream import Stream


def part(seed: int, count: int = 200, **changes: Tensor) -> Split:
    inputs = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    given = {"inputs": inputs, "labels": torch.arange(count) % 4} | changes
    return Split(**given)


TRAIN, VALIDATION, TEST = part(0), part(1, 100), part(2, 100)


def told(caplog: pytest.LogCaptureFixture, **changes: Any) -> list[str]:
    parts = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "classes": 4}
    given: dict[str, Any] = parts | changes
    caplog.clear()
    warn_of_data(
        Problem("own", "net", build_model=lambda **_: nn.Identity(), **given), "problem.factory"
    )
    return [message.removeprefix("problem.factory: ") for message in caplog.messages]


def mixed(copies: int) -> Split:
    """Return a part of 100 inputs, some of which are training inputs."""
    inputs = TEST.inputs.clone()
    inputs[:copies] = TRAIN.inputs[:copies]
    return Split(inputs, TEST.labels)


def as_tokens(split: Split, length: int) -> Split:
    return Split((split.inputs.flatten(1)[:, :length] * 9e5).long(), split.labels)


def test_copies_of_training_inputs_in_other_parts_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = "of 100 {0} inputs are also training inputs, so {0} results are too good"
    for name in ("validation", "test"):
        assert told(caplog, **{name: mixed(1)}) == []
        (message,) = told(caplog, **{name: mixed(2)})
        assert message.startswith(f"2 {said.format(name)}")
    (message,) = told(caplog, test=TRAIN, validation=None)
    assert message.startswith("200 of 200 test inputs are also training inputs")
    # Of half precision, of which numpy has no type.
    halves = {name: Split(each.inputs.bfloat16(), each.labels) for name, each in PARTS.items()}
    assert told(caplog, **halves) == []
    (message,) = told(caplog, **halves | {"test": halves["train"]})
    assert message.startswith("200 of 200")


PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


@pytest.mark.parametrize(("length", "warned"), [(15, False), (16, True)])
def test_short_inputs_may_be_equal(
    length: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    short = as_tokens(TRAIN, length)
    assert len(told(caplog, train=short, validation=None, test=short)) == warned


def test_classes_that_are_not_trained_or_do_not_occur_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    few = part(0, labels=torch.arange(200) % 2)
    for_test, for_validation = told(caplog, train=few)[::-1]
    assert for_test.startswith("2 classes (2, 3) of its test part, with 50 examples, are not in")
    assert for_validation.startswith("2 classes (2, 3) of its validation part")
    (message,) = told(caplog, classes=1000)
    assert message.startswith("its classes = 1000, but only 4 of them occur in its training part")
    assert told(caplog, classes=1000, task="regression") == []


def test_an_odd_scale_is_told_with_its_numbers(caplog: pytest.LogCaptureFixture) -> None:
    def pixels(split: Split) -> Split:
        return Split((split.inputs * 40 + 128).clamp(0, 255).byte(), split.labels)

    raw = {name: pixels(split) for name, split in PARTS.items()}
    (message,) = told(caplog, **raw)
    assert message.startswith("its training inputs, normalised by its scale = 1, mean = (0.0,) and")
    assert "a mean of 127 and a standard deviation of 39.9" in message
    assert told(caplog, **raw, scale=255.0, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)) == []
    (message,) = told(caplog, test=Split(TEST.inputs / 11, TEST.labels))
    assert "standard deviation of 1 after normalisation, but its test inputs 0.09" in message
    # Of what is read in batches, some examples tell.
    streamed = Stream(TensorDataset(raw["train"].inputs, TRAIN.labels))
    (message,) = told(caplog, **raw | {"train": streamed})
    assert "normalised by its scale = 1" in message
    tokens = as_tokens(TRAIN, 48)
    assert told(caplog, train=tokens, validation=None, test=as_tokens(TEST, 48)) == []


def test_unequal_classes_are_told_with_the_error_of_the_largest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    labels[:50] = torch.arange(50) % 4
    (message,) = told(caplog, validation=part(1, 100, labels=labels))
    assert message.startswith(
        "its classes are unequal: always answering class 0 has an error of 37.0%, but a run counts "
        "as trained below 75.0%"
    )
    labels[:84] = torch.arange(84) % 4
    assert told(caplog, validation=part(1, 100, labels=labels)) == []
