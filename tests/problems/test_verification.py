from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from indian_tune.errors import DataError
from indian_tune.problems import data_folder, fetch, verify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.problems.conftest import Small


def test_looking_without_checksums_sees_what_is_there(small_cifar100: Small, data: Path) -> None:
    info = small_cifar100.info
    assert verify(info, data, checksums=False).state == "missing"
    small_cifar100.unpack_into(data)
    (data / "cifar-100-python" / "train").write_bytes(b"flipped")
    assert verify(info, data, checksums=False).state == "present"
    (data / "cifar-100-python" / "train").unlink()
    assert verify(info, data, checksums=False).state == "damaged"


def test_verifying_names_every_missing_and_wrong_file(small_cifar100: Small, data: Path) -> None:
    small_cifar100.unpack_into(data)
    (data / "cifar-100-python" / "train").write_bytes(b"flipped")
    (data / "cifar-100-python" / "meta").unlink()
    status = verify(small_cifar100.info, data)
    assert status.state == "damaged"
    missing, wrong = status.details
    assert missing == f"{data / 'cifar-100-python' / 'meta'} is missing"
    assert wrong.startswith(f"{data / 'cifar-100-python' / 'train'} (7 bytes) has the MD5")


def test_files_without_checksum_or_archive_are_only_present(small_mnist: Small, data: Path) -> None:
    small_mnist.unpack_into(data)
    status = verify(small_mnist.info, data)
    assert status.state == "present"
    assert len(status.details) == 4
    assert all("has no archive" in detail for detail in status.details)


def test_a_changed_file_is_found_by_its_archive(small_mnist: Small, data: Path) -> None:
    fetch(small_mnist.info, data, mirror=small_mnist.mirror.as_uri())
    assert verify(small_mnist.info, data).state == "intact"
    labels = data / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x05")
    status = verify(small_mnist.info, data)
    assert status.state == "damaged"
    assert [detail.split()[0] for detail in status.details] == [str(labels)]


def test_a_file_and_its_archive_that_were_changed_alike_are_found(
    small_mnist: Small, data: Path
) -> None:
    fetch(small_mnist.info, data, mirror=small_mnist.mirror.as_uri())
    labels = data / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(b"changed")
    labels.with_suffix(".gz").write_bytes(gzip.compress(b"changed"))
    (fault,) = verify(small_mnist.info, data).details
    assert fault.startswith(f"{labels}.gz ")


def test_a_data_folder_that_cannot_be_looked_into_is_said(small_cifar100: Small) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(File name too long\)\. Choose another"):
        verify(small_cifar100.info, "x" * 5000)


def test_the_data_folder_is_the_option_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("INDIAN_TUNE_DATA", "~/named")
    assert data_folder(tmp_path / "option") == tmp_path / "option"
    assert data_folder() == tmp_path / "home" / "named"
    monkeypatch.setenv("INDIAN_TUNE_DATA", "")
    assert data_folder() == tmp_path / "cache" / "indian-tune" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_folder() == tmp_path / "home" / ".cache" / "indian-tune" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_folder() == tmp_path / "home" / ".cache" / "indian-tune" / "data"


def test_a_relative_data_folder_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_folder("here") == tmp_path / "here"
