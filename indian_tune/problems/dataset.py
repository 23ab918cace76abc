"""The record of a data set: what is known before it is loaded, where it is from, how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
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
class DatasetSource:
    """The archives of a data set.

    Attributes:
        archives: in the order in which the reader gets their files.
    """

    archives: tuple[Archive, ...]

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every unpacked file, in the order of the archives."""
        return tuple(file for archive in self.archives for file in archive.files)


class Reader(Protocol):
    """Reads the images and labels of a data set."""

    def __call__(self, folder: Path, files: tuple[StoredFile, ...]) -> tuple[Split, Split]:
        """Return the training and the test part.

        Images are uint8 of shape [N, channels, height, width], labels int64 of shape [N]. What they
        must be besides is checked by ``load_arrays``, which also explains the errors that reading
        a damaged file raises.

        Args:
            folder: the data folder.
            files: of the source, all of them there and no checksum wrong; none where a package
                brings the data set.
        """
        ...


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
        train_images: official number of training images, before a validation part is carved out.
        test_images: official number of test images.
        read: makes tensors of the files.
        source: archives, addresses and checksums; ``None`` if nothing is to be downloaded.
        package: the distribution that brings the data set where there is no source.
    """

    name: str
    title: str
    description: str
    classes: int
    shape: tuple[int, int, int]
    scale: int
    train_images: int
    test_images: int
    read: Reader
    source: DatasetSource | None = None
    package: str = ""
