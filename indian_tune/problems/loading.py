"""Loads a data set of the catalog; one that is missing or damaged is refused."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import torch

from indian_tune.errors import DataError
from indian_tune.problems.catalog import get_dataset_info
from indian_tune.problems.verification import verify

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from indian_tune.problems.dataset import DatasetInfo
    from indian_tune.problems.problem import Split


def load_arrays(
    dataset: str | DatasetInfo, data_dir: str | Path | None = None
) -> tuple[Split, Split]:
    """Load a data set into memory; nothing is downloaded.

    Checksums are compared before a file is read, and afterwards what was read with what is known
    of the data set.

    Args:
        dataset: name in the catalog, or the description of a data set of one's own.
        data_dir: see ``data_folder``.

    Returns:
        Training and test part: images uint8 of shape [N, channels, height, width] as stored, labels
        int64 of shape [N].

    Raises:
        InputError: the name is not in the catalog.
        DataError: the data set is missing or damaged; the message names the file and the command
            that gets it.
    """
    info = get_dataset_info(dataset) if isinstance(dataset, str) else dataset
    status = verify(info, data_dir)
    if not status.usable:
        raise DataError(status.advice)
    where, remedy = info.package or status.folder, f"get it again with `{status.fetch_command}`"
    try:
        train, test = info.read(status.folder, info.files)
    except _UNREADABLE as error:
        raise DataError(
            f"data set {info.name!r} in {where} cannot be read ({error}): {remedy}"
        ) from error
    for part, split, count in (
        ("training", train, info.train_images),
        ("test", test, info.test_images),
    ):
        fault = _find_fault(split, info, count)
        if fault:
            raise DataError(
                f"the {part} part of data set {info.name!r} in {where} {fault}: {remedy}"
            )
    return train, test


# What readers raise on files that are not what they take them for.
_UNREADABLE = (
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def _find_fault(split: Split, info: DatasetInfo, count: int) -> str | None:
    expected = (count, *info.shape)
    if tuple(split.inputs.shape) != expected or split.inputs.dtype != torch.uint8:
        return f"has images of {_shape(split.inputs)}, expected uint8 {list(expected)}"
    if tuple(split.labels.shape) != (count,):
        return f"has {split.labels.shape[0]:,} labels for {count:,} images"
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= info.classes:
        return f"has labels from {low} to {high}, expected 0 to {info.classes - 1}"
    return None


def _shape(images: Tensor) -> str:
    return f"{str(images.dtype).removeprefix('torch.')} {list(images.shape)}"
