from __future__ import annotations

import gzip
import shutil
import socket
import tarfile
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from indian_tune.errors import DataError, InputError
from indian_tune.problems import StoredFile, fetch, get_dataset_info, verify
from indian_tune.problems.download import download

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.problems.conftest import Mirror, Small

    Pack = Callable[[Mapping[str, bytes | tarfile.TarInfo]], bytes]
    Serve = Callable[[Path], Mirror]

ARCHIVE = "cifar-100-python.tar.gz"


def files_below(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return found - {".fetch.lock"}


def test_a_fetched_data_set_is_intact_and_nothing_else_is_left(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_cifar100.mirror)
    status = fetch(small_cifar100.info, data, mirror=f"{server.address}/")
    assert status.state == "intact"
    assert server.requests == [(f"/{ARCHIVE}", None)]
    assert files_below(data) == {ARCHIVE, *small_cifar100.contents}
    for path, content in small_cifar100.contents.items():
        assert (data / path).read_bytes() == content


def test_official_addresses_are_used_without_a_mirror_and_the_next_where_one_fails(
    small_cifar100: Small, serve: Serve, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    first, second = serve(tmp_path / "empty"), serve(small_cifar100.mirror)
    info = small_cifar100.with_archive(
        urls=(f"{first.address}/{ARCHIVE}", f"{second.address}/{ARCHIVE}")
    )
    assert fetch(info, data).state == "intact"
    assert (len(first.requests), len(second.requests)) == (1, 1)


def test_the_mirror_can_be_named_by_the_environment_and_be_a_folder(
    small_cifar100: Small, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDIAN_TUNE_MIRROR", small_cifar100.mirror.as_uri() + "/")
    assert fetch(small_cifar100.info, data).state == "intact"


def test_a_served_data_folder_is_a_mirror(
    small_mnist: Small, serve: Serve, data: Path, tmp_path: Path
) -> None:
    fetch(small_mnist.info, data, mirror=small_mnist.mirror.as_uri())
    status = fetch(small_mnist.info, tmp_path / "copy", mirror=serve(data).address)
    assert status.state == "intact"
    assert files_below(tmp_path / "copy") == files_below(data)


def test_an_intact_data_set_is_not_fetched_again(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    small_cifar100.unpack_into(data)
    server = serve(small_cifar100.mirror)
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"
    assert server.requests == []
    # Nothing at all is written: a shared folder may be one that cannot be written.
    assert not (data / ".fetch.lock").exists()


def test_an_archive_that_was_put_into_the_folder_by_hand_is_used(
    small_cifar100: Small, data: Path
) -> None:
    data.mkdir()
    shutil.copy(small_cifar100.mirror / ARCHIVE, data)
    assert fetch(small_cifar100.info, data).state == "intact"


def test_a_damaged_file_is_unpacked_again_without_a_download(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_cifar100.mirror)
    fetch(small_cifar100.info, data, mirror=server.address)
    (data / "cifar-100-python" / "test").write_bytes(b"flipped")
    assert verify(small_cifar100.info, data).state == "damaged"
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"
    assert len(server.requests) == 1


def test_only_the_damaged_archive_of_several_is_downloaded_again(
    small_mnist: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_mnist.mirror)
    fetch(small_mnist.info, data, mirror=server.address)
    assert len(server.requests) == 4
    raw = data / "MNIST" / "raw"
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(b"flipped")
    written = (raw / "train-images-idx3-ubyte").stat().st_mtime_ns
    assert fetch(small_mnist.info, data, mirror=server.address).state == "intact"
    assert [path for path, _ in server.requests[4:]] == ["/MNIST/raw/t10k-labels-idx1-ubyte.gz"]
    assert (raw / "train-images-idx3-ubyte").stat().st_mtime_ns == written


def test_a_transfer_that_breaks_off_is_continued_where_it_stopped(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_cifar100.mirror)
    server.cuts = [1000, 5000]
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"
    assert [wanted for _, wanted in server.requests] == [None, "bytes=1000-", "bytes=6000-"]


def test_a_later_command_continues_what_an_earlier_one_left(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_cifar100.mirror)
    server.cuts = [1000, 0]
    with pytest.raises(DataError, match="broke off after 1,000 of"):
        fetch(small_cifar100.info, data, mirror=server.address)
    assert files_below(data) == {f"{ARCHIVE}.part"}
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"
    assert server.requests[-1] == (f"/{ARCHIVE}", "bytes=1000-")


def test_a_truncated_download_is_refused_where_the_server_cannot_continue(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_cifar100.mirror)
    server.ranges = False
    server.cuts = [2000, 2000, 2000]
    with pytest.raises(DataError, match=r"broke off after 2,000 of [\d,]+ bytes"):
        fetch(small_cifar100.info, data, mirror=server.address)
    assert ARCHIVE not in files_below(data)
    assert len(server.requests) == 2


def test_a_server_without_ranges_is_asked_for_the_whole_file_again(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_cifar100.mirror)
    server.ranges = False
    server.cuts = [2000]
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"


@pytest.mark.parametrize("leftover", [b"another version", b"x" * 2_000_000])
def test_a_leftover_of_another_file_is_started_over(
    small_cifar100: Small, serve: Serve, data: Path, leftover: bytes
) -> None:
    data.mkdir()
    (data / f"{ARCHIVE}.part").write_bytes(leftover)
    server = serve(small_cifar100.mirror)
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"
    assert [wanted for _, wanted in server.requests] == [f"bytes={len(leftover)}-", None]


def test_a_leftover_that_is_complete_is_taken(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    data.mkdir()
    shutil.copy(small_cifar100.mirror / ARCHIVE, data / f"{ARCHIVE}.part")
    server = serve(small_cifar100.mirror)
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"
    assert len(server.requests) == 1


def test_a_file_with_the_wrong_checksum_is_refused_and_discarded(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    info = small_cifar100.with_archive(md5="0" * 32)
    server = serve(small_cifar100.mirror)
    with pytest.raises(DataError) as caught:
        fetch(info, data, mirror=server.address)
    message = str(caught.value)
    assert f"{server.address}/{ARCHIVE} is not the expected file" in message
    assert f"{small_cifar100.archive.md5}, expected {'0' * 32}" in message
    assert files_below(data) == set()


@pytest.mark.parametrize("length", [None, "", "-1", "many", "9" * 5000])
def test_a_body_that_is_larger_than_the_data_set_is_not_written(
    small_cifar100: Small, serve: Serve, data: Path, length: str | None
) -> None:
    server = serve(small_cifar100.mirror)
    server.length = length
    (small_cifar100.mirror / ARCHIVE).write_bytes(bytes(small_cifar100.info.most_bytes + 1))
    with pytest.raises(DataError, match=r"but at most 2,3\d\d,\d\d\d bytes are expected"):
        fetch(small_cifar100.info, data, mirror=server.address)
    assert files_below(data) == set()


def test_a_leftover_that_is_too_large_is_dropped(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    data.mkdir()
    (data / f"{ARCHIVE}.part").write_bytes(bytes(small_cifar100.info.most_bytes + 1))
    server = serve(small_cifar100.mirror)
    assert fetch(small_cifar100.info, data, mirror=server.address).state == "intact"
    assert server.requests == [(f"/{ARCHIVE}", None)]


def test_no_real_file_is_as_large_as_the_bound() -> None:
    # Sizes as published; an archive is not larger than what it unpacks to.
    largest = {
        "cifar10": 31_035_704,
        "cifar100": 155_249_918,
        "mnist": 47_040_016,
        "fashion-mnist": 47_040_016,
    }
    archives = {"cifar10": 170_498_071, "cifar100": 169_001_437}
    for name, size in largest.items():
        bound = get_dataset_info(name).most_bytes
        assert max(size, archives.get(name, 0)) < bound < 200_000_000


def test_a_file_that_unpacks_to_more_than_the_data_set_is_refused(
    small_mnist: Small, data: Path
) -> None:
    small_mnist.repack(gzip.compress(bytes(small_mnist.info.most_bytes + 1)))
    with pytest.raises(DataError, match=r"unpacks to more than 1,098,220 bytes"):
        fetch(small_mnist.info, data, mirror=small_mnist.mirror.as_uri())
    assert not any(name.endswith("-ubyte") for name in files_below(data))


def test_an_archive_of_other_files_than_expected_is_refused_and_none_is_kept(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    files = tuple(StoredFile(file.path, "0" * 32) for file in small_cifar100.archive.files)
    info = small_cifar100.with_archive(files=files)
    with pytest.raises(DataError, match="contains an unexpected file"):
        fetch(info, data, mirror=serve(small_cifar100.mirror).address)
    assert files_below(data) == {ARCHIVE}


def test_a_refused_connection_is_said_with_the_ways_on(small_cifar100: Small, data: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(DataError) as caught:
        fetch(small_cifar100.info, data, mirror=address)
    message = str(caught.value)
    assert f"{address}/{ARCHIVE} cannot be reached" in message
    assert "Connection refused" in message
    assert "--mirror" in message
    assert f"put the file into {data}" in message
    assert files_below(data) == set()


def test_an_address_that_has_no_such_file_is_said(
    small_cifar100: Small, serve: Serve, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot be downloaded: HTTP 404"):
        fetch(small_cifar100.info, data, mirror=serve(tmp_path / "empty").address)


def test_a_full_disk_is_said(small_cifar100: Small, serve: Serve, data: Path) -> None:
    data.mkdir()
    # Writing to this device fails as writing to a full disk does.
    (data / f"{ARCHIVE}.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"No space left on device \([\d,]+ MB are free\)"):
        fetch(small_cifar100.info, data, mirror=serve(small_cifar100.mirror).address)
    assert not (data / ARCHIVE).exists()


def test_too_little_space_is_noticed_before_anything_is_written(
    small_cifar100: Small, serve: Serve, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=1000))
    with pytest.raises(DataError, match="No space left"):
        fetch(small_cifar100.info, data, mirror=serve(small_cifar100.mirror).address)
    assert files_below(data) == set()


def test_a_data_folder_that_cannot_be_made_is_said(small_cifar100: Small, data: Path) -> None:
    data.write_text("a file")
    with pytest.raises(DataError, match=rf"{data}.* cannot be written.*--data-dir"):
        fetch(small_cifar100.info, data / "inner", mirror=small_cifar100.mirror.as_uri())


def test_links_and_paths_that_an_archive_asks_for_are_never_followed(
    small_cifar100: Small, data: Path, tmp_path: Path, pack: Pack
) -> None:
    link = tarfile.TarInfo("cifar-100-python/train")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    small_cifar100.repack(pack({"../outside": b"escaped", link.name: link}))
    with pytest.raises(DataError, match="train is not a regular file"):
        fetch(small_cifar100.info, data, mirror=small_cifar100.mirror.as_uri())
    assert files_below(data) == {ARCHIVE}
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("archive", [b"no archive at all", b""])
def test_an_archive_that_does_not_unpack_is_refused(
    small_cifar100: Small, data: Path, archive: bytes
) -> None:
    small_cifar100.repack(archive)
    with pytest.raises(DataError, match=f"{ARCHIVE} does not unpack"):
        fetch(small_cifar100.info, data, mirror=small_cifar100.mirror.as_uri())
    assert files_below(data) == {ARCHIVE}


def test_an_archive_without_the_wanted_file_is_refused(
    small_cifar100: Small, data: Path, pack: Pack
) -> None:
    small_cifar100.repack(pack({"cifar-100-python/other": b""}))
    with pytest.raises(DataError, match=r"does not unpack.*cifar-100-python/train.*not found"):
        fetch(small_cifar100.info, data, mirror=small_cifar100.mirror.as_uri())


@pytest.mark.parametrize(
    "mirror", ["/mnt/mirror", "ftp://host/data", "http://", "http://[::1", "mirror.example"]
)
def test_a_mirror_that_is_no_address_is_refused(
    small_cifar100: Small, data: Path, mirror: str
) -> None:
    with pytest.raises(InputError, match=r"mirror = .* is not a valid address"):
        fetch(small_cifar100.info, data, mirror=mirror)
    assert not data.exists()


def test_a_password_in_a_mirror_is_refused_and_not_repeated(
    small_cifar100: Small, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INDIAN_TUNE_MIRROR", "https://user:secret@host/data")
    with pytest.raises(InputError, match="INDIAN_TUNE_MIRROR") as caught:
        fetch(small_cifar100.info, data)
    assert "secret" not in str(caught.value)


def test_a_download_takes_no_other_kind_of_address(data: Path) -> None:
    with pytest.raises(DataError, match="use http, https, file"):
        download("ftp://host/file", data / "file", md5="0" * 32, most_bytes=1)


def test_progress_is_told_up_to_the_whole_size(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    told: list[tuple[str, int, int | None]] = []
    server = serve(small_cifar100.mirror)
    server.cuts = [1000]
    fetch(
        small_cifar100.info,
        data,
        mirror=server.address,
        progress=lambda name, done, total: told.append((name, done, total)),
    )
    size = (data / ARCHIVE).stat().st_size
    assert told[0] == (ARCHIVE, 1000, size)
    assert told[-1] == (ARCHIVE, size, size)
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_fetching_twice_at_once_downloads_once(
    small_cifar100: Small, serve: Serve, data: Path
) -> None:
    server = serve(small_cifar100.mirror)
    started = threading.Event()
    second_states = []

    def second() -> None:
        started.wait()
        second_states.append(fetch(small_cifar100.info, data, mirror=server.address).state)

    other = threading.Thread(target=second)
    other.start()

    def wait_for_second(name: str, done: int, total: int | None) -> None:
        """Leave the second time to start while the first is in the middle of its download."""
        started.set()
        other.join(0.2)

    fetch(small_cifar100.info, data, mirror=server.address, progress=wait_for_second)
    other.join()
    assert second_states == ["intact"]
    assert len(server.requests) == 1


def test_the_digits_need_no_fetching(data: Path) -> None:
    assert fetch("digits", data).state == "intact"
    assert not data.exists()


def test_a_plain_gzip_file_is_unpacked_where_the_source_says(
    small_mnist: Small, data: Path
) -> None:
    archive = replace(small_mnist.archive, files=(StoredFile("elsewhere/images"),))
    info = replace(small_mnist.info, archives=(archive,))
    assert fetch(info, data, mirror=small_mnist.mirror.as_uri()).state == "intact"
    (content, *_) = small_mnist.contents.values()
    assert (data / "elsewhere" / "images").read_bytes() == content
