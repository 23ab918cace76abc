"""Reading a data set into tensors, refusing one that is missing or damaged."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from indian_tune.errors import DataError
from indian_tune.problems.catalog import DatasetInfo, get_dataset_info
from indian_tune.problems.problem import Split
from indian_tune.problems.stratify import stratify
from indian_tune.problems.verification import verify

if TYPE_CHECKING:
    from torch import Tensor

    from indian_tune.problems.sources import DatasetSource

DIGITS_TEST_FRACTION = 0.2
_DIGITS_TEST_SEED = 0


def load_arrays(
    dataset: str | DatasetInfo, data_dir: str | Path | None = None
) -> tuple[Split, Split]:
    """Load a data set into memory; nothing is downloaded.

    The digits come with scikit-learn and have no test part of their own: a fixed, stratified fifth
    (359 of 1,797 images) is theirs, the same in every study.

    CIFAR's files are pickles, which can run code when they are read. They are read by torchvision,
    which does so only after it has compared their MD5 checksums with the known ones, and here they
    were compared before. The MNIST family is plain binary; its files are compared with their
    archives if those are there, and their sizes and labels are checked in any case.

    Args:
        dataset: name in the catalog, or the description of a data set of one's own.
        data_dir: see ``data_folder``.

    Returns:
        Training and test part: images uint8 of shape [N, channels, size, size] as stored, labels
        int64 of shape [N].

    Raises:
        InputError: the name is not in the catalog.
        DataError: the data set is missing or damaged; the message names the file and the command
            that gets it.
    """
    info = get_dataset_info(dataset) if isinstance(dataset, str) else dataset
    source = info.source
    if source is None:
        train, test = _read_digits()
        where = "scikit-learn"
        remedy = "reinstall scikit-learn"
    else:
        status = verify(info, data_dir)
        if not status.usable:
            raise DataError(status.advice)
        where = str(status.folder)
        remedy = f"get it again with `{status.fetch_command}`"
        try:
            if info.torchvision_class in ("CIFAR10", "CIFAR100"):
                train, test = _read_cifar(info.torchvision_class, source, status.folder)
            else:
                train, test = _read_mnist(source, status.folder)
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


# What the readers raise on files that are not what they take them for.
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


def _read_digits() -> tuple[Split, Split]:
    table = _digits_table()
    labels = table[:, -1].astype(np.int64)
    # Grey levels are whole numbers from 0 to 16 in float64.
    images = torch.from_numpy(table[:, :-1].astype(np.uint8)).reshape(-1, 1, 8, 8)
    train, test = (
        Split(images[positions], torch.from_numpy(labels)[positions])
        for positions in stratify(labels, DIGITS_TEST_FRACTION, _DIGITS_TEST_SEED)
    )
    return train, test


def _digits_table() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the pixels of each image, row by row, and its label: shape [1797, 65]."""
    # Importing scikit-learn takes a worker as long as importing torch; reading its file does not.
    found = importlib.util.find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",", ndmin=2)
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack((digits.data, digits.target))


def _read_cifar(class_name: str, source: DatasetSource, folder: Path) -> tuple[Split, Split]:
    import torchvision.datasets

    base = getattr(torchvision.datasets, class_name)
    paths = [PurePosixPath(file.path) for file in source.files]
    md5 = {path.name: file.md5 for path, file in zip(paths, source.files, strict=True)}
    # The same names and the same guard, with the folder and the checksums of the source.
    reader: Any = type(
        class_name,
        (base,),
        {
            "base_folder": str(paths[0].parent),
            "train_list": [[name, md5[name]] for name, _ in base.train_list],
            "test_list": [[name, md5[name]] for name, _ in base.test_list],
            "meta": {**base.meta, "md5": md5[base.meta["filename"]]},
        },
    )
    splits = []
    for train in (True, False):
        with warnings.catch_warnings():
            # NumPy 2.4.0 to 2.4.4 warn of pickles as old as these.
            warnings.filterwarnings("ignore", r"dtype\(\): align should be passed")
            part = reader(str(folder), train=train, download=False)
        pixels = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
        splits.append(
            Split(torch.from_numpy(pixels), torch.tensor(part.targets, dtype=torch.int64))
        )
    return splits[0], splits[1]


def _read_mnist(source: DatasetSource, folder: Path) -> tuple[Split, Split]:
    # The functions and not the class: the class prefers a `processed` folder of old versions,
    # which has no checksums, to the files that were verified.
    from torchvision.datasets.mnist import read_image_file, read_label_file

    train_images, train_labels, test_images, test_labels = (
        str(folder / file.path) for file in source.files
    )
    return (
        Split(read_image_file(train_images).unsqueeze(1), read_label_file(train_labels)),
        Split(read_image_file(test_images).unsqueeze(1), read_label_file(test_labels)),
    )


def _find_fault(split: Split, info: DatasetInfo, count: int) -> str | None:
    expected = (count, info.channels, info.size, info.size)
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
