"""Divides labelled examples so that every part has the same proportions of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def stratify(
    labels: NDArray[np.int64], part: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide examples into a part and the rest, class by class.

    The part gets, of each class, its proportional share rounded down; the examples that are then
    still wanted go to the classes with the largest remainders, smaller labels first (the largest
    remainder method). Which examples of a class are taken is a function of ``seed`` and of their
    positions alone: each position gets a random key, and the smallest keys are taken.

    Args:
        labels: shape [N], 0 or greater.
        part: a float is the fraction of the N examples, above 0 and below 1; an int is their
            number, from 1 to N - 1.
        seed: 0 or greater.

    Returns:
        Positions of the rest and positions of the part, each ascending, int64.

    Raises:
        InputError: the part is empty or everything, or the seed is negative.
    """
    taken, rest = draw(labels, [part_size(part, len(labels))], seed)
    return rest, taken


def draw(labels: NDArray[np.int64], counts: Sequence[int], seed: int) -> list[NDArray[np.int64]]:
    """Draw disjoint parts one after the other, each as ``stratify`` draws it from what is left.

    Args:
        labels: shape [N], 0 or greater.
        counts: examples of each part, 0 or greater, at most N together.
        seed: 0 or greater.

    Returns:
        Positions of each part and, last, of the rest; each ascending, int64.

    Raises:
        InputError: the seed is negative.
    """
    if seed < 0:
        raise InputError(f"split_seed = {seed} is not allowed: it must be at least 0")
    (keys,) = random_words(seed, 1, len(labels))
    left = []
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        left.append(members[np.argsort(keys[members], kind="stable")])
    parts = []
    for count in counts:
        shares = _shares([len(members) for members in left], count)
        pairs = list(zip(left, shares, strict=True))
        parts.append([members[:share] for members, share in pairs])
        left = [members[share:] for members, share in pairs]
    return [np.sort(np.concatenate(part)) for part in (*parts, left)]


def random_words(seed: int, rows: int, count: int) -> NDArray[np.uint64]:
    """Return uniform words of 64 bits, shape [rows, count], a function of the arguments alone."""
    # NumPy keeps the raw stream of a bit generator the same in all versions, and not the methods
    # of Generator: a split must not change with an upgrade.
    return np.random.PCG64(seed).random_raw(rows * count).reshape(rows, count)


def part_size(part: float, total: int) -> int:
    """Return how many of ``total`` examples a fraction (float) or a number (int) asks for.

    Raises:
        InputError: the part is empty or everything.
    """
    counted = isinstance(part, int) and not isinstance(part, bool)
    if not counted and not 0 < part < 1:
        raise InputError(
            f"validation_fraction = {part} is not allowed: give a fraction between 0 and 1, or a "
            "whole number of examples"
        )
    count = int(part) if counted else round(part * total)
    if not 0 < count < total:
        raise InputError(
            f"validation_fraction = {part} gives {count} of {total} examples: it must give 1 to "
            f"{total - 1}"
        )
    return count


def _shares(class_sizes: list[int], count: int) -> list[int]:
    """Divide ``count`` among the classes in exact integers, by the largest remainder method."""
    total = sum(class_sizes)
    shares, remainders = [], []
    for size in class_sizes:
        share, remainder = divmod(size * count, total)
        shares.append(share)
        remainders.append(remainder)
    missing = count - sum(shares)
    largest = sorted(range(len(shares)), key=lambda label: (-remainders[label], label))
    for label in largest[:missing]:
        shares[label] += 1
    return shares
