"""Builds a problem: the splits of a data set and the network that trains on them."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import pad

from indian_tune.errors import DataError, InputError
from indian_tune.problems.catalog import check_fit, get_dataset_info, get_model_info
from indian_tune.problems.loading import load_arrays
from indian_tune.problems.models import build_model
from indian_tune.problems.packaged import TEST_SEED
from indian_tune.problems.problem import Problem, Split
from indian_tune.problems.randomness import key_hash
from indian_tune.problems.stratify import draw, random_words, stratify
from indian_tune.problems.task import get_task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from indian_tune.problems.dataset import DatasetInfo
    from indian_tune.problems.sizes import SplitSizes
    from indian_tune.problems.task import Task


def load_problem(
    *,
    dataset: str | DatasetInfo,
    model: str,
    width: float = 1.0,
    widths: Sequence[int] = (),
    size: int | None = None,
    init: str = "he_normal",
    init_std: float | None = None,
    validation_fraction: float | None = 0.1,
    sizes: SplitSizes | None = None,
    split_seed: int = 0,
    parts_seed: int | None = None,
    label_noise: float = 0.0,
    data_dir: str | Path | None = None,
) -> Problem:
    """Load a data set, split off the validation part, and get the network ready to be built.

    Images are resized if ``size`` is given. Those smaller than the network's are padded with zeros
    (black) on all sides, before anything else is computed from them.

    Args:
        dataset: name in the catalog, or the description of a data set of one's own.
        model: name in the catalog.
        width: multiplies the numbers of channels of the network.
        widths: of the hidden layers of a network that has no channels.
        size: height and width that the images are resized to, in pixels; ``None`` for as stored.
        init: distribution of the initial weights, ``he_normal`` or ``normal``.
        init_std: standard deviation for ``normal``.
        validation_fraction: part of the training images that becomes the validation part,
            stratified by class: a fraction (float) or a number of images (int). ``None`` trains on
            all of them (paper mode). The test images are never touched.
        sizes: of the splits, in place of ``validation_fraction``; images beyond them are left out.
        split_seed: which images are in which split is a function of this alone.
        parts_seed: in its place for the training and the validation part; the test part stays.
        label_noise: part of the training labels that is drawn at random, see ``with_noise``.
        data_dir: see ``data_folder``.

    Returns:
        The problem; its ``mean`` and ``std`` are of the images that are left for training.

    Raises:
        InputError: an unknown name, a model that does not take the images, a fraction that leaves
            nothing for validation or for training, or sizes beyond what there is.
        DataError: the data set is missing or damaged.
    """
    data = get_dataset_info(dataset) if isinstance(dataset, str) else dataset
    network = get_model_info(model)
    check_fit(data, network, size)
    if sizes is not None:
        sizes.check(
            data.train_images,
            data.test_images,
            f"dataset = {data.name!r}",
            official_test=data.official_test,
        )
    build = functools.partial(
        build_model,
        network.name,
        classes=data.classes,
        channels=data.shape[0],
        size=network.input_size(data, size),
        width=width,
        widths=widths,
        init=init,
        init_std=init_std,
    )
    # Built once here so that a width or an init that cannot be is refused before data is read.
    build(seed=0, dropout=0.0)
    train, test = (
        _padded(_resized(split, size), network.input_size(data, size))
        for split in load_arrays(data, data_dir)
    )
    seed = split_seed if parts_seed is None else parts_seed
    validation = None
    if sizes is not None:
        train, validation, test = draw_splits(train, test, sizes, split_seed, parts_seed)
    elif validation_fraction is not None:
        train, validation = split_validation(train, validation_fraction, seed)
    train = with_noise(train, label_noise, data.classes, seed)
    mean, std = channel_statistics(train, data.scale)
    if 0 in std:
        raise DataError(
            f"the training images of {data.name!r} have the same value everywhere in channel "
            f"{std.index(0)}: they cannot be normalised"
        )
    return Problem(
        dataset=data.name,
        model=network.name,
        classes=data.classes,
        train=train,
        validation=validation,
        test=test,
        mean=mean,
        std=std,
        scale=float(data.scale),
        build_model=build,
    )


def split_validation(
    split: Split, part: float, seed: int, task: Task | str = "classification"
) -> tuple[Split, Split]:
    """Divide a split, by class where there are classes, into what is left and the part taken out.

    Args:
        split: what is divided.
        part: a fraction of the examples (float) or their number (int).
        seed: decides which examples; nothing else does.
        task: says what the parts are stratified by.

    Raises:
        InputError: the part is empty or everything, or the seed is negative.
    """
    parts = stratify(_strata(split, task), part, seed)
    left, taken = (_at(split, positions) for positions in parts)
    return left, taken


def draw_splits(
    train: Split,
    test: Split,
    sizes: SplitSizes,
    seed: int,
    parts_seed: int | None = None,
    task: Task | str = "classification",
) -> tuple[Split, Split | None, Split]:
    """Draw splits of given sizes, by class.

    The validation part is the one that ``split_validation`` takes; training examples come from the
    rest.

    Args:
        train: what training and validation part are drawn from.
        test: what the test part is drawn from. One that is larger is filled up from ``train``, with
            the same examples for every seed.
        sizes: at most what there is.
        seed: decides which examples; nothing else does.
        parts_seed: in its place for the training and the validation part.
        task: says what the parts are stratified by.

    Returns:
        Training, validation and test part.

    Raises:
        InputError: the seed is negative.
    """
    missing = (sizes.test or 0) - len(test)
    if missing > 0:
        more, rest = draw(_strata(train, task), [missing], TEST_SEED)
        train, test = _at(train, rest), test.joined(_at(train, more))
    elif sizes.test is not None:
        tested, _ = draw(_strata(test, task), [sizes.test], seed)
        test = _at(test, tested)
    counts = [sizes.validation or 0, sizes.train]
    drawn_by = seed if parts_seed is None else parts_seed
    held_out, used, _ = draw(_strata(train, task), counts, drawn_by)
    validation = None if sizes.validation is None else _at(train, held_out)
    return _at(train, used), validation, test


def with_noise(split: Split, part: float, classes: int, seed: int) -> Split:
    """Return a split in which a part of the labels says nothing about the inputs.

    So many examples, the nearest whole number, get a label that is drawn at random from all
    classes; it is the right one once in ``classes`` times.

    Args:
        split: training examples.
        part: of the labels, from 0 to 1.
        classes: number of classes.
        seed: decides which examples and which labels, by a stream of its own.

    Raises:
        InputError: the part is not from 0 to 1.
    """
    if not 0 <= part <= 1:
        raise InputError(f"label_noise = {part} is not allowed: it must be in [0, 1]")
    count = round(part * len(split))
    if not count:
        return split
    keys, words = random_words(key_hash("label noise", seed), 2, len(split))
    chosen = keys.argsort(kind="stable")[:count]
    labels = split.labels.clone()
    drawn = (words[chosen] % np.uint64(classes)).astype(np.int64)
    labels[torch.from_numpy(chosen)] = torch.from_numpy(drawn)
    return Split(split.inputs, labels)


def _strata(split: Split, task: Task | str) -> NDArray[np.int64]:
    # The labels of a stream are known once it has been read, which takes an epoch.
    if split.streamed:
        return np.zeros(len(split), dtype=np.int64)
    strata: NDArray[np.int64] = get_task(task).strata(split.labels).numpy()
    return strata


def _at(split: Split, positions: NDArray[np.int64]) -> Split:
    return split.at(torch.from_numpy(positions))


def channel_statistics(split: Split, scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel, of pixels divided by ``scale``.

    Sums are taken in whole numbers and only the last division rounds, to float64, so that the
    result is the same on every machine. The standard deviation divides by the number of pixels.
    """
    means, deviations = [], []
    for channel in range(split.inputs.shape[1]):
        counts = torch.bincount(split.inputs[:, channel].flatten(), minlength=256).tolist()
        pixels = sum(counts)
        total = sum(count * value for value, count in enumerate(counts))
        squares = sum(count * value**2 for value, count in enumerate(counts))
        means.append(total / pixels / scale)
        deviations.append(math.sqrt((pixels * squares - total**2) / pixels**2) / scale)
    return tuple(means), tuple(deviations)


def _resized(split: Split, size: int | None) -> Split:
    """Resize images to ``size`` × ``size`` pixels, each the mean of the area that it covers.

    A pixel is rounded to the nearest whole number, halves upwards. Sums are of whole numbers, so
    that the result is the same on every machine.
    """
    images = split.inputs
    if size is None or images.shape[2:] == (size, size):
        return split
    height, width = (_overlaps(side, size) for side in images.shape[2:])
    # Whole numbers far below 2⁵³: exact, and faster than in int64.
    sums = (height @ images.to(torch.float64) @ width.T).to(torch.int64)
    area = images.shape[2] * images.shape[3]
    return Split(((2 * sums + area) // (2 * area)).to(torch.uint8), split.labels)


def _overlaps(side: int, size: int) -> Tensor:
    """Return how much of each of ``side`` pixels each of ``size`` covers: [size, side], rows of
    sum ``side``, in units of 1/``size`` of a pixel."""
    new, old = torch.arange(size).unsqueeze(1), torch.arange(side)
    end = torch.minimum((new + 1) * side, (old + 1) * size)
    return (end - torch.maximum(new * side, old * size)).clamp(min=0).to(torch.float64)


def _padded(split: Split, size: int) -> Split:
    around = []
    # torch counts from the last dimension.
    for side in reversed(split.inputs.shape[2:]):
        before = (size - side) // 2
        around += [before, size - side - before]
    return Split(pad(split.inputs, around), split.labels) if any(around) else split
