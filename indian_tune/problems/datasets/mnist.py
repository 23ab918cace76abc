"""The MNIST family: 28×28 grey levels in plain binary files, each in a ``.gz`` of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.problems.dataset import Archive, DatasetInfo, StoredFile
from indian_tune.problems.problem import Split

if TYPE_CHECKING:
    from pathlib import Path

PARTS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def read_mnist(folder: Path, files: tuple[StoredFile, ...]) -> tuple[Split, Split]:
    """Read the four files of :data:`PARTS`."""
    # The functions and not the class: the class prefers a `processed` folder of old versions,
    # which has no checksums, to the files that were verified.
    from torchvision.datasets.mnist import read_image_file, read_label_file

    train_images, train_labels, test_images, test_labels = (
        str(folder / file.path) for file in files
    )
    return (
        Split(read_image_file(train_images).unsqueeze(1), read_label_file(train_labels)),
        Split(read_image_file(test_images).unsqueeze(1), read_label_file(test_labels)),
    )


def _archives(
    folder: str, mirrors: tuple[str, ...], checksums: tuple[str, ...]
) -> tuple[Archive, ...]:
    """Return the archives of :data:`PARTS`, whose files have no checksums of their own."""
    return tuple(
        Archive(
            path=f"{folder}/{part}.gz",
            md5=md5,
            urls=tuple(f"{mirror}/{part}.gz" for mirror in mirrors),
            files=(StoredFile(f"{folder}/{part}"),),
        )
        for part, md5 in zip(PARTS, checksums, strict=True)
    )


DATASETS = (
    DatasetInfo(
        name="mnist",
        title="MNIST",
        description="handwritten digits, 28×28 grey",
        classes=10,
        shape=(1, 28, 28),
        scale=255,
        train_images=60_000,
        test_images=10_000,
        read=read_mnist,
        archives=_archives(
            "MNIST/raw",
            ("https://ossci-datasets.s3.amazonaws.com/mnist", "http://yann.lecun.com/exdb/mnist"),
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    DatasetInfo(
        name="fashion-mnist",
        title="Fashion-MNIST",
        description="articles of clothing, 28×28 grey",
        classes=10,
        shape=(1, 28, 28),
        scale=255,
        train_images=60_000,
        test_images=10_000,
        read=read_mnist,
        archives=_archives(
            "FashionMNIST/raw",
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",),
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
)
