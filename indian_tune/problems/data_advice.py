"""Warns of a user's data whose results would mislead: leaks, missing classes, odd scales."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from indian_tune.problems.task import get_task
from indian_tune.text import counted

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.problems.problem import Problem, Split

__all__ = ["warn_of_data"]

log = logging.getLogger(__name__)

# Inputs of fewer numbers, such as rows of small tables, are often equal by nature.
LEAST_NUMBERS = 16
# Inputs that are compared at most: it takes seconds.
MOST_COMPARED = 300_000
# Share of copies that real data sets have without harm.
USUAL_COPIES = 0.01
# Of the error at chance level: classes of which the largest one gives less are unequal.
EQUAL = 0.8
# Examples that tell the scale.
MEASURED = 2000
# Bounds of the standard deviation and the mean of normalised inputs, and how many times as large
# as that of one part the standard deviation of another may be.
LEAST_STD, MOST_STD, MOST_MEAN, MOST_RATIO = 0.02, 20.0, 20.0, 10.0
# Classes that a message names.
NAMED = 5


def warn_of_data(problem: Problem, where: str) -> None:
    """Warn of data that can be trained on, but whose results would mislead.

    Args:
        problem: of one's own, with its splits.
        where: the key that names it, for the messages.
    """
    for told in (
        *_copies(problem),
        *_missing_classes(problem),
        *_unequal_classes(problem),
        *_odd_scale(problem),
    ):
        log.warning("%s: %s", where, told)


def _judged(problem: Problem) -> dict[str, Split]:
    """Return the parts that a network is judged on and that are in memory."""
    parts = {"validation": problem.validation, "test": problem.test}
    return {name: each for name, each in parts.items() if each is not None and not each.streamed}


def _copies(problem: Problem) -> list[str]:
    train = problem.train
    if train.streamed or train.inputs[0].numel() < LEAST_NUMBERS:
        return []
    parts = _judged(problem)
    if len(train) + sum(map(len, parts.values())) > MOST_COMPARED:
        return []
    known = set(_hashes(train.inputs))
    told = []
    for name, part in parts.items():
        copies = sum(each in known for each in _hashes(part.inputs))
        if copies > USUAL_COPIES * len(part):
            told.append(
                f"{copies:,} of {counted(len(part), f'{name} input')} are also training inputs, "
                f"so {name} results are too good: give every input once, in one part"
            )
    return told


def _hashes(inputs: Tensor) -> list[int]:
    # As bytes, since numpy has no bfloat16.
    rows = inputs.detach().reshape(len(inputs), -1).contiguous().view(torch.uint8).numpy()
    return [hash(row.tobytes()) for row in rows]


def _missing_classes(problem: Problem) -> list[str]:
    if get_task(problem.task).name != "classification" or problem.train.streamed:
        return []
    trained = _classes(problem.train)
    found, told = set(trained), []
    for name, part in _judged(problem).items():
        there = _classes(part)
        found |= there
        if new := sorted(there - trained):
            named = ", ".join(map(str, new[:NAMED])) + (", …" if len(new) > NAMED else "")
            examples = int(torch.isin(part.labels, torch.tensor(new)).sum())
            told.append(
                f"{counted(len(new), 'class', 'classes')} ({named}) of its {name} part, with "
                f"{counted(examples, 'example')}, are not in its training part, so no network can "
                "learn them: add training examples of them"
            )
    if len(found) < problem.classes:
        told.append(
            f"its classes = {problem.classes}, but only {len(trained)} of them occur in its "
            "training part. If your data have no others, set classes to the largest label + 1, and "
            "number the classes from 0 without gaps: the error at chance level depends on classes"
        )
    return told


def _unequal_classes(problem: Problem) -> list[str]:
    """Tell of classes of which the most frequent one alone gives a smaller error than chance."""
    task = get_task(problem.task)
    if task.name != "classification" or task.outcome != "accuracy" or problem.train.streamed:
        return []
    part = _judged(problem).get("validation", problem.train)
    counts = part.labels.bincount()
    chance, error = 1 - 1 / problem.classes, 1 - float(counts.max()) / len(part)
    # Where classes are missing, that is told.
    if error >= EQUAL * chance or int((counts > 0).sum()) < problem.classes:
        return []
    return [
        f"its classes are unequal: always answering class {int(counts.argmax())} has an error of "
        f"{error:.1%}, but a run counts as trained below {chance:.1%}, the error at chance level "
        "of equal classes. Compare errors with the first number, or judge by another metric, such "
        "as macro F1 in a training loop of your own (with_metric of its task)"
    ]


def _classes(part: Split) -> set[int]:
    return set(part.labels.bincount().nonzero().flatten().tolist())


def _odd_scale(problem: Problem) -> list[str]:
    parts = {"training": problem.train, "test": problem.test}
    samples = {name: _normalised(part, problem) for name, part in parts.items()}
    if samples["training"] is None or samples["test"] is None:
        return []
    mean = samples["training"].mean().item()
    std, other = (each.std(correction=0).item() for each in samples.values() if each is not None)
    given = f"scale = {problem.scale:g}, mean = {problem.mean} and std = {problem.std}"
    told = []
    if not LEAST_STD <= std <= MOST_STD or abs(mean) > MOST_MEAN:
        told.append(
            f"its training inputs, normalised by its {given}, have a mean of {mean:.3g} and a "
            f"standard deviation of {std:.3g}, but networks learn best from about 0 and 1: set "
            "scale, mean and std of the Problem"
        )
    low, high = sorted((std, other))
    if high > MOST_RATIO * low:
        told.append(
            f"its training inputs have a standard deviation of {std:.3g} after normalisation, but "
            f"its test inputs {other:.3g}: give both parts in the same scale"
        )
    return told


def _normalised(part: Split, problem: Problem) -> Tensor | None:
    """Return some inputs as the network gets them; ``None`` of integers, which stay as they are."""
    inputs = part.sample().inputs
    if inputs.dtype == torch.int64:
        return None
    few = inputs[:: -(-len(inputs) // MEASURED)].double()
    each = (1, -1, *[1] * (few.dim() - 2))
    mean, std = (torch.tensor(given, dtype=few.dtype) for given in (problem.mean, problem.std))
    return (few / problem.scale - mean.view(each)) / std.view(each)
