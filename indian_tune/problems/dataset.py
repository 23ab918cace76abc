"""The record of a data set: its properties, its source, and how it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.problems.problem import Split


@dataclass(frozen=True)
class StoredFile:
    """An unpacked file of a data set.

    Attributes:
        path: relative to the data folder, with forward slashes; also the name inside a tar archive.
        md5: hexadecimal; ``None`` where only the archive has a checksum, which must then be a plain
            ``.gz``.
    """

    path: str
    md5: str | None = None


@dataclass(frozen=True)
class Archive:
    """A file to download, and what it unpacks to.

    Attributes:
        path: where it is kept, relative to the data folder; a mirror has it under the same path.
        md5: of the archive, hexadecimal.
        urls: official addresses, in the order in which they are tried.
        files: what it holds: several files for ``.tar.gz``, one for a plain ``.gz``.
    """

    path: str
    md5: str
    urls: tuple[str, ...]
    files: tuple[StoredFile, ...]


@dataclass(frozen=True)
class DatasetInfo:
    """What the package knows about a data set.

    Attributes:
        name: as written in a study file.
        title: as shown to people.
        description: what the images show.
        classes: number of classes; labels are 0 … classes - 1.
        shape: channels, height and width of an image as stored.
        scale: the largest raw pixel value, which a raw pixel is divided by.
        train_images: official number of training images, before a validation part is split off.
        test_images: official number of test images.
        read: called with the data folder and ``files``, none of which is missing or has a wrong
            checksum; returns the training and the test part, images uint8 of shape
            [N, channels, height, width] and labels int64 of shape [N]. Both are checked afterwards,
            and what reading a damaged file raises is explained.
        archives: to download, in the order in which the reader gets their files; none of what
            comes with a package.
        package: that brings what has no archives, as pip knows it.
        package_files: what it brings: paths relative to the folder of installed packages, and the
            checksums; empty for a package that this one requires.
        official_test: whether the test part is the one of its authors. Otherwise it is a choice of
            this package, and a study may ask for a larger one.
    """

    name: str
    title: str
    description: str
    classes: int
    shape: tuple[int, int, int]
    scale: int
    train_images: int
    test_images: int
    read: Callable[[Path, tuple[StoredFile, ...]], tuple[Split, Split]]
    archives: tuple[Archive, ...] = ()
    package: str = ""
    package_files: tuple[StoredFile, ...] = ()
    official_test: bool = True

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every unpacked file, in the order of the archives."""
        return tuple(file for archive in self.archives for file in archive.files)

    @property
    def most_bytes(self) -> int:
        """What no file of the data set exceeds, archive or unpacked.

        That is all pixels and labels, a byte each and 4 for a label, and what a format adds to
        them: 5 % and a mebibyte.
        """
        raw = (self.train_images + self.test_images) * (math.prod(self.shape) + 4)
        return int(1.05 * raw) + (1 << 20)
