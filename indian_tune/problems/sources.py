"""Where the files of a data set come from, and the checksums they must have.

Addresses, file names and checksums are torchvision's own. They are constants in the bodies of its
data set classes and are read from its source text, because importing torchvision loads torch,
which takes seconds that listing, checking and fetching data do not need.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

_CIFAR = ("base_folder", "url", "filename", "tgz_md5", "train_list", "test_list", "meta")
_MNIST = ("mirrors", "resources")
_CLASSES = {
    "CIFAR10": ("cifar", _CIFAR),
    "CIFAR100": ("cifar", _CIFAR),
    "MNIST": ("mnist", _MNIST),
    "FashionMNIST": ("mnist", _MNIST),
}


@dataclass(frozen=True)
class StoredFile:
    """An unpacked file of a data set.

    Attributes:
        path: relative to the data folder, with forward slashes; also the name inside a tar archive.
        md5: hexadecimal; ``None`` where only the archive has a checksum.
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
        archives: one for CIFAR; four for the MNIST family, in the order training images, training
            labels, test images, test labels.
    """

    archives: tuple[Archive, ...]

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Every unpacked file, in the order of the archives."""
        return tuple(file for archive in self.archives for file in archive.files)


@functools.cache
def torchvision_source(class_name: str) -> DatasetSource:
    """Return what torchvision knows about one of its data sets.

    Args:
        class_name: ``CIFAR10``, ``CIFAR100``, ``MNIST`` or ``FashionMNIST``.
    """
    module, names = _CLASSES[class_name]
    constants = class_constants(module, class_name, names)
    if names is _CIFAR:
        return _cifar_source(constants)
    return _mnist_source(class_name, constants)


def class_constants(module: str, class_name: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    """Return class attributes of a torchvision data set, without importing torchvision if it can.

    Args:
        module: module under ``torchvision.datasets``.
        class_name: class in that module.
        names: attributes wanted.
    """
    try:
        found = _literals(module, class_name)
        return {name: found[name] for name in names}
    except (OSError, SyntaxError, LookupError) as error:
        logger.info("importing torchvision, its source cannot be read: %r", error)
        owner = getattr(importlib.import_module(f"torchvision.datasets.{module}"), class_name)
        return {name: getattr(owner, name) for name in names}


def _literals(module: str, class_name: str) -> dict[str, Any]:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("torchvision has no folder")
    path = Path(spec.submodule_search_locations[0], "datasets", f"{module}.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    values: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name != class_name:
            continue
        for line in node.body:
            match line:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    try:
                        values[name] = ast.literal_eval(value)
                    except ValueError:
                        logger.debug("%s.%s is no literal", class_name, name)
    return values


def _cifar_source(constants: Mapping[str, Any]) -> DatasetSource:
    members = [*constants["train_list"], *constants["test_list"]]
    members.append((constants["meta"]["filename"], constants["meta"]["md5"]))
    base = constants["base_folder"]
    archive = Archive(
        path=constants["filename"],
        md5=constants["tgz_md5"],
        urls=(constants["url"],),
        files=tuple(StoredFile(f"{base}/{name}", md5) for name, md5 in members),
    )
    return DatasetSource((archive,))


def _mnist_source(class_name: str, constants: Mapping[str, Any]) -> DatasetSource:
    archives = []
    for name, md5 in constants["resources"]:
        path = f"{class_name}/raw/{name}"
        archives.append(
            Archive(
                path=path,
                md5=md5,
                urls=tuple(f"{mirror}{name}" for mirror in constants["mirrors"]),
                files=(StoredFile(str(PurePosixPath(path).with_suffix(""))),),
            )
        )
    return DatasetSource(tuple(archives))
