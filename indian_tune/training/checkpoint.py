"""Files from which an interrupted run continues.

A file is a line that names the format and its version, a line with the SHA-256 of the rest, and a
dictionary of tensors and plain values as ``torch.save`` writes it.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import shutil
import tempfile
from collections import Counter, OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.errors import CheckpointError, InputError
from indian_tune.text import with_article

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

FORMAT = b"indian-tune checkpoint"
VERSION = 1
KEPT = 2
"""Checkpoints kept per run: the newest, and one to fall back on."""

_PLAIN = (torch.Tensor, int, float, bool, str, type(None))
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Attributes:
        epoch: epochs done.
        state: tensors (on the CPU when loaded) and plain values, nested in dictionaries with text
            or whole numbers as keys, lists and tuples.
    """

    epoch: int
    state: Mapping[str, Any]


class CheckpointFolder:
    """The checkpoints of many runs, at most two of each.

    A file appears whole or not at all: it is written under a temporary name, flushed to the disk
    and renamed. Several processes may use one folder as long as each run has one writer at a time.

    Args:
        root: created when first needed.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def save(self, key: str, checkpoint: Checkpoint) -> None:
        """Write a checkpoint and remove the run's others, except for the one before it.

        Raises:
            CheckpointError: the state holds something that is neither a tensor nor plain, or the
                file cannot be written.
            InputError: the key is empty or too long for a file name.
        """
        check_plain(checkpoint.state, "state")
        folder = self._folder(key)
        path = folder / _file_name(checkpoint.epoch)
        buffer = io.BytesIO()
        torch.save({"key": key, "epoch": checkpoint.epoch, "state": checkpoint.state}, buffer)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            _write_atomically(path, buffer.getbuffer())
            others = [other for other in _newest_first(folder) if other != path]
            earlier = [other for other in others if other.name < path.name]
            for other in others:
                if other in earlier[: KEPT - 1]:
                    continue
                if other.is_dir() and not other.is_symlink():
                    shutil.rmtree(other)
                else:
                    other.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint of run {key!r} cannot be written to {path}: {error.strerror}. "
                "Free disk space or choose another folder; the run continues from its last "
                "checkpoint"
            ) from error

    def load(self, key: str) -> Checkpoint | None:
        """Read a run's newest checkpoint that is intact; ``None`` if there is none.

        A damaged one is reported by a warning in the log, and the one before it is used. What an
        interrupted writer left behind is removed.

        Raises:
            CheckpointError: the newest was written in another version of the format.
            InputError: the key is empty or too long for a file name.
        """
        folder = self._folder(key)
        for path in folder.glob("*.tmp"):
            path.unlink(missing_ok=True)
        paths = _newest_first(folder)
        for path in paths:
            try:
                return _read(path, key)
            except _DamagedError as damage:
                log.warning("Checkpoint %s is damaged (%s): trying an earlier one", path, damage)
        if paths:
            log.warning("Run %r has no intact checkpoint: it starts from the beginning", key)
        return None

    def has(self, key: str) -> bool:
        """Whether a run has a checkpoint, intact or not.

        Raises:
            InputError: the key is empty or too long for a file name.
        """
        return bool(_newest_first(self._folder(key)))

    def discard(self, key: str) -> None:
        """Remove all checkpoints of a run; it need not have any.

        Raises:
            InputError: the key is empty or too long for a file name.
        """
        folder = self._folder(key)
        if folder.exists():
            shutil.rmtree(folder)

    def _folder(self, key: str) -> Path:
        """A folder directly under the root, another one for every other key."""
        name = re.sub(
            rb"[^A-Za-z0-9_-]", lambda match: b"%%%02X" % match.group()[0], key.encode()
        ).decode()
        if not 0 < len(name) <= _LONGEST_NAME:
            raise InputError(
                f"run key {key!r} gives a file name of {len(name)} characters, but it must have 1 "
                f"to {_LONGEST_NAME} (each byte of other characters than ASCII letters, digits, _ "
                "and - counts as 3)"
            )
        return self.root / name


class _DamagedError(Exception):
    """A file is not what was written."""


def _file_name(epoch: int) -> str:
    return f"epoch-{epoch:08d}.ckpt"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.ckpt"), reverse=True)


def _write_atomically(path: Path, payload: memoryview) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        try:
            file.write(b"%b %d\n%b\n" % (FORMAT, VERSION, sha256(payload).hexdigest().encode()))
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    if os.name == "posix":
        # The new name itself must reach the disk too.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path, key: str) -> Checkpoint:
    # A link or a pipe may lead anywhere, and may never end.
    if path.is_symlink() or not path.is_file():
        raise _DamagedError("not a file of its own")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _DamagedError(f"not readable: {error.strerror}") from error
    first, _, rest = content.partition(b"\n")
    name, _, version = first.rpartition(b" ")
    if name != FORMAT or not version.isdigit():
        raise _DamagedError("does not begin as a checkpoint does")
    if int(version) != VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {int(version)}; this indian-tune reads version "
            f"{VERSION}. Continue with the indian-tune that wrote it, or remove the file to start "
            "the run again"
        )
    checksum, _, payload = rest.partition(b"\n")
    if sha256(payload).hexdigest().encode() != checksum:
        raise _DamagedError("checksum differs")
    try:
        saved = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _DamagedError("contains more than tensors and plain values") from error
    # Of what is not its own torch raises anything.
    except Exception as error:
        raise _DamagedError(f"cannot be read: {error}") from error
    match saved:
        case {"key": str(of), "epoch": int(epoch), "state": dict(state)}:
            pass
        case _:
            raise _DamagedError("lacks entries of a checkpoint")
    if of != key:
        raise _DamagedError(f"belongs to run {of!r}")
    if path.name != _file_name(epoch):
        raise _DamagedError(f"is of epoch {epoch}")
    return Checkpoint(epoch=epoch, state=state)


def check_plain(value: object, where: str) -> None:
    """Refuse what ``weights_only`` loading would refuse, while the run can still be saved."""
    if type(value) in (dict, OrderedDict, Counter):
        assert isinstance(value, dict)
        for key, each in value.items():
            if type(key) not in (str, int):
                raise CheckpointError(f"{where} has the key {key!r}: use text or a whole number")
            check_plain(each, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        assert isinstance(value, list | tuple)
        for index, each in enumerate(value):
            check_plain(each, f"{where}[{index}]")
    elif type(value) not in _PLAIN:
        raise CheckpointError(
            f"{where} is {with_article(type(value).__name__)}: only tensors and plain "
            "values can be saved"
        )
