"""Checks whether the files of a data set are present and correct."""

from __future__ import annotations

import enum
import gzip
import hashlib
import shlex
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from indian_tune.errors import DataError
from indian_tune.problems.catalog import get_dataset_info
from indian_tune.problems.folder import DATA_VARIABLE, data_folder
from indian_tune.problems.packaged import packaged_file

if TYPE_CHECKING:
    from io import BufferedIOBase
    from pathlib import Path

    from indian_tune.problems.dataset import Archive, DatasetInfo, StoredFile


class DataState(enum.StrEnum):
    """How a data set was found."""

    INTACT = "intact"
    PRESENT = "present"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class DataStatus:
    """What was found of a data set.

    Attributes:
        name: of the data set.
        state: ``intact``, every checksum is right; ``present``, every file is there but the
            checksums were not compared or are not known; ``missing``, no file is there;
            ``damaged``, some files are missing or wrong.
        folder: the data folder that was looked in.
        details: a sentence for each file that is missing or wrong, or for what was not compared.
        package: that brings it; empty for what is downloaded.
    """

    name: str
    state: DataState
    folder: Path
    details: tuple[str, ...] = ()
    package: str = ""

    @property
    def usable(self) -> bool:
        """Whether loading can be tried."""
        return self.state in (DataState.INTACT, DataState.PRESENT)

    @property
    def fetch_command(self) -> str:
        """The command line that gets the data set into this folder, or its package."""
        if self.package:
            damaged = self.state is not DataState.MISSING
            pip = "pip install --force-reinstall --no-deps" if damaged else "pip install"
            return f"{pip} {self.package}"
        where = (
            "" if self.folder == data_folder() else f" --data-dir {shlex.quote(str(self.folder))}"
        )
        return f"indian-tune data fetch {self.name}{where}"

    @property
    def advice(self) -> str:
        """What is wrong and what to do about it, as one message."""
        if self.package and self.state is DataState.MISSING:
            return (
                f"data set {self.name!r} comes with the package {self.package}, which is not "
                f"installed: install it with `{self.fetch_command}`"
            )
        if self.state is DataState.MISSING:
            return (
                f"data set {self.name!r} is not in {self.folder}: get it with "
                f"`{self.fetch_command}`, or give its folder with --data-dir or {DATA_VARIABLE}"
            )
        if self.state is DataState.DAMAGED:
            return (
                f"data set {self.name!r} is damaged: {'; '.join(self.details)}. "
                f"Get it again with `{self.fetch_command}`"
            )
        return f"data set {self.name!r} is {self.state} in {self.folder}"


def verify(
    dataset: str | DatasetInfo, data_dir: str | Path | None = None, *, checksums: bool = True
) -> DataStatus:
    """Look at the files of a data set; nothing is loaded or changed.

    An unpacked file that has no checksum of its own is compared with what its archive unpacks to,
    and the archive with its checksum; without the archive the state is ``present`` at best.

    Args:
        dataset: name in the catalog, or the description of a data set of one's own.
        data_dir: see ``data_folder``.
        checksums: ``False`` only looks whether the files are there, which takes no time.

    Raises:
        InputError: the name is not in the catalog.
        DataError: the data folder cannot be looked into.
    """
    info = get_dataset_info(dataset) if isinstance(dataset, str) else dataset
    folder = data_folder(data_dir)
    if not info.archives:
        return _verify_packaged(info, folder, checksums=checksums)
    try:
        absent = [file for file in info.files if not (folder / file.path).is_file()]
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read ({error.strerror}). Choose another data folder with "
            f"--data-dir or {DATA_VARIABLE}"
        ) from error
    if len(absent) == len(info.files):
        return DataStatus(info.name, DataState.MISSING, folder)
    faults = [f"{folder / file.path} is missing" for file in absent]
    unknown: list[str] = []
    if checksums:
        for archive in info.archives:
            for file in archive.files:
                if file in absent:
                    continue
                if file.md5 is None and not (folder / archive.path).is_file():
                    unknown.append(f"{folder / file.path} has no archive to compare it with")
                elif fault := find_fault(folder, archive, file):
                    faults.append(fault)
    if faults:
        return DataStatus(info.name, DataState.DAMAGED, folder, tuple(faults))
    if unknown or not checksums:
        return DataStatus(info.name, DataState.PRESENT, folder, tuple(unknown))
    return DataStatus(info.name, DataState.INTACT, folder)


def _verify_packaged(info: DatasetInfo, folder: Path, *, checksums: bool) -> DataStatus:
    """Look at the files of an installed package, which is not imported."""
    compared = checksums or not info.package_files
    state = DataState.INTACT if compared else DataState.PRESENT
    details = [f"comes with {info.package}"]
    for file in info.package_files:
        path = packaged_file(file.path)
        if path is None:
            state, details = DataState.MISSING, []
        elif checksums and file.md5 and (fault := checksum_fault(path, file.md5)):
            state, details = DataState.DAMAGED, [fault]
    return DataStatus(info.name, state, folder, tuple(details), info.package)


def find_fault(folder: Path, archive: Archive, file: StoredFile) -> str | None:
    """Return what is wrong with an unpacked file, naming it, or ``None`` if nothing is."""
    path = folder / file.path
    if not path.is_file():
        return f"{path} is missing"
    if file.md5 is not None:
        return checksum_fault(path, file.md5)
    kept = folder / archive.path
    if not kept.is_file():
        return f"{kept} is missing"
    if fault := checksum_fault(kept, archive.md5):
        return fault
    try:
        with gzip.open(kept) as unpacked:
            expected = _md5(unpacked)
    except (OSError, EOFError, zlib.error) as error:
        return f"{kept} does not unpack ({error})"
    return checksum_fault(path, expected)


def checksum_fault(path: Path, md5: str) -> str | None:
    """Return what is wrong with a file that should have a checksum, or ``None``."""
    try:
        with path.open("rb") as stored:
            found = _md5(stored)
        size = path.stat().st_size
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if found == md5:
        return None
    return f"{path} ({size:,} bytes) has the MD5 checksum {found}, expected {md5}"


def _md5(stream: BufferedIOBase) -> str:
    """Return the MD5 checksum of what is left of a stream, in hexadecimal."""
    return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
