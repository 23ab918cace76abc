"""Fetches a data set: download, check, unpack, check again."""

from __future__ import annotations

import contextlib
import errno
import gzip
import logging
import os
import shutil
import tarfile
import urllib.parse
import zlib
from functools import partial
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING

import filelock

from indian_tune.errors import DataError, InputError
from indian_tune.problems.catalog import get_dataset_info
from indian_tune.problems.download import CHUNK, SCHEMES, download
from indian_tune.problems.folder import DATA_VARIABLE, data_folder
from indian_tune.problems.verification import (
    DataState,
    DataStatus,
    checksum_fault,
    find_fault,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indian_tune.problems.dataset import Archive, DatasetInfo, StoredFile
    from indian_tune.problems.download import Progress

logger = logging.getLogger(__name__)

MIRROR_VARIABLE = "INDIAN_TUNE_MIRROR"


def fetch(
    dataset: str | DatasetInfo,
    data_dir: str | Path | None = None,
    *,
    mirror: str | None = None,
    progress: Progress | None = None,
) -> DataStatus:
    """Get a data set, or only what is missing or damaged of it.

    Every file, archive or unpacked, takes its final name only once it is complete and its checksum
    right. Archives are kept: damaged files are unpacked from them again, and files that have no
    checksum are checked against them. A second process that fetches into the same folder waits.

    Args:
        dataset: name in the catalog, or the description of a data set of one's own.
        data_dir: see ``data_folder``; made if it is not there.
        mirror: base address (http, https or file) of a copy to use instead of the official
            addresses, else the environment variable ``INDIAN_TUNE_MIRROR``. A mirror has the files
            where a data folder has them, so that a served data folder is one.
        progress: called with a file's name, its bytes so far and its size (``None`` if the server
            does not say it).

    Returns:
        The state after the last check: ``intact``.

    Raises:
        InputError: the name is not in the catalog, or the mirror's address is not of an allowed
            kind.
        DataError: a file cannot be had, is not the expected one, or cannot be written; or the data
            come with a package, which is not installed.
    """
    info = get_dataset_info(dataset) if isinstance(dataset, str) else dataset
    base = _mirror_address(mirror)
    folder = data_folder(data_dir)
    status = verify(info, folder)
    if status.state is DataState.INTACT:
        return status
    if not info.archives:
        raise DataError(status.advice)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one(folder):
            for archive in info.archives:
                _restore(folder, archive, base, info.most_bytes, progress)
    except OSError as error:
        raise DataError(_failure(folder, error)) from error
    status = verify(info, folder)
    if status.state is not DataState.INTACT:
        raise DataError(status.advice)
    return status


def _mirror_address(mirror: str | None) -> str | None:
    key = "mirror" if mirror else MIRROR_VARIABLE
    address = mirror or os.environ.get(MIRROR_VARIABLE)
    if not address:
        return None
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError as error:
        raise InputError(f"{key} = {address!r} is not a valid address: {error}") from error
    if "@" in parts.netloc:
        raise InputError(f"{key} contains a user name or password: remove it")
    if parts.scheme not in SCHEMES or not (parts.netloc or parts.scheme == "file"):
        raise InputError(
            f"{key} = {address!r} is not a valid address: use http://…, https://… or file:///…"
        )
    return address.rstrip("/")


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep other processes from fetching into the same folder."""
    lock = filelock.FileLock(folder / ".fetch.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning("waiting for another process that downloads to %s", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _restore(
    folder: Path, archive: Archive, base: str | None, most_bytes: int, progress: Progress | None
) -> None:
    """Make the files of an archive right, with as little work as that takes."""
    if not any(find_fault(folder, archive, file) for file in archive.files):
        return
    kept = folder / archive.path
    if not kept.is_file() or checksum_fault(kept, archive.md5):
        kept.parent.mkdir(parents=True, exist_ok=True)
        urls = archive.urls if base is None else (f"{base}/{archive.path}",)
        _download_first(urls, kept, archive.md5, most_bytes, progress)
    _unpack(folder, archive, most_bytes)


def _download_first(
    urls: tuple[str, ...], target: Path, md5: str, most_bytes: int, progress: Progress | None
) -> None:
    """Download from the first address that has the file."""
    failures = []
    for url in urls:
        try:
            download(url, target, md5=md5, most_bytes=most_bytes, progress=progress)
        except DataError as error:
            logger.info("%s", error)
            failures.append(str(error))
        else:
            return
    raise DataError(
        f"{target.name} was not downloaded. {'. '.join(failures)}. Give another address with "
        f"--mirror or {MIRROR_VARIABLE}, or put the file into {target.parent} and run the same "
        "command again"
    )


def _unpack(folder: Path, archive: Archive, most_bytes: int) -> None:
    """Write the files of an archive.

    Only the wanted names are read, only from regular members, into paths that are made here: what
    an archive says about paths, links, owners and modes is never followed.
    """
    kept = folder / archive.path
    try:
        if PurePosixPath(archive.path).suffixes[-2:] == [".tar", ".gz"]:
            with tarfile.open(kept, "r:gz") as tar:
                for file in archive.files:
                    member = tar.getmember(file.path)
                    content = tar.extractfile(member) if member.isreg() else None
                    if content is None:
                        raise DataError(f"{kept}: {file.path} is not a regular file")
                    with content:
                        _store(content, folder, file, most_bytes)
        else:
            with gzip.open(kept) as unzipped:
                _store(unzipped, folder, archive.files[0], most_bytes)
    except (KeyError, EOFError, zlib.error, tarfile.TarError, gzip.BadGzipFile) as error:
        raise DataError(f"{kept} does not unpack: {error}") from error


def _store(
    content: IO[bytes] | gzip.GzipFile, folder: Path, file: StoredFile, most_bytes: int
) -> None:
    target = folder / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        with part.open("wb") as written:
            for piece in iter(partial(content.read, CHUNK), b""):
                if written.tell() + len(piece) > most_bytes:
                    raise DataError(
                        f"the archive contains an unexpected file: {file.path} unpacks to more "
                        f"than {most_bytes:,} bytes"
                    )
                written.write(piece)
        fault = None if file.md5 is None else checksum_fault(part, file.md5)
        if fault:
            raise DataError(f"the archive contains an unexpected file: {fault}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _failure(folder: Path, error: OSError) -> str:
    """Say why the data folder could not be used."""
    free = ""
    if error.errno == errno.ENOSPC:
        free = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB are free)"
    return (
        f"{error.filename or folder} cannot be written: {error.strerror or error}{free}. Choose "
        f"another data folder with --data-dir or {DATA_VARIABLE}"
    )
