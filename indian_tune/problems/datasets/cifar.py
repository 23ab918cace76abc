"""CIFAR-10 and CIFAR-100: 32×32 photographs in pickled dictionaries, all in one archive."""

from __future__ import annotations

import functools
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from indian_tune.problems.dataset import Archive, DatasetInfo, StoredFile
from indian_tune.problems.problem import Split

if TYPE_CHECKING:
    from pathlib import Path


def read_cifar(class_name: str, folder: Path, files: tuple[StoredFile, ...]) -> tuple[Split, Split]:
    """Read the files by a class of torchvision.

    Pickles can run code when they are read. torchvision reads them only after it has compared their
    MD5 checksums with the known ones.

    Args:
        class_name: ``CIFAR10`` or ``CIFAR100``.
        folder: the data folder.
        files: all in one folder, under torchvision's names, with checksums.
    """
    import numpy as np
    import torch
    import torchvision.datasets

    base = getattr(torchvision.datasets, class_name)
    paths = [PurePosixPath(file.path) for file in files]
    md5 = {path.name: file.md5 for path, file in zip(paths, files, strict=True)}
    # The same names and the same guard, with the folder and the checksums of the record.
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


def _archives(name: str, md5: str, folder: str, files: dict[str, str]) -> tuple[Archive]:
    stored = tuple(StoredFile(f"{folder}/{file}", checksum) for file, checksum in files.items())
    return (Archive(name, md5, (f"https://www.cs.toronto.edu/~kriz/{name}",), stored),)


DATASETS = (
    DatasetInfo(
        name="cifar10",
        title="CIFAR-10",
        description="photographs of animals and vehicles, 32×32 colour",
        classes=10,
        shape=(3, 32, 32),
        scale=255,
        train_images=50_000,
        test_images=10_000,
        read=functools.partial(read_cifar, "CIFAR10"),
        archives=_archives(
            "cifar-10-python.tar.gz",
            "c58f30108f718f92721af3b95e74349a",
            "cifar-10-batches-py",
            {
                "data_batch_1": "c99cafc152244af753f735de768cd75f",
                "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "634d18415352ddfa80567beed471001a",
                "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
                "test_batch": "40351d587109b95175f43aff81a1287e",
                "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
            },
        ),
    ),
    DatasetInfo(
        name="cifar100",
        title="CIFAR-100",
        description="photographs in 100 fine classes, 32×32 colour",
        classes=100,
        shape=(3, 32, 32),
        scale=255,
        train_images=50_000,
        test_images=10_000,
        read=functools.partial(read_cifar, "CIFAR100"),
        archives=_archives(
            "cifar-100-python.tar.gz",
            "eb9058c3a382ffc7106e4002c42a8d85",
            "cifar-100-python",
            {
                "train": "16019d7e3df5f24257cddd939b257f8d",
                "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
                "meta": "7973b15100ade9c7d40fb424638fde48",
            },
        ),
    ),
)
