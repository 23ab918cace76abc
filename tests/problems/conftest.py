"""Small data sets in the real formats, and a server to fetch them from."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from indian_tune.problems import Archive, DatasetInfo, StoredFile, get_dataset_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

NO_ADDRESS = "http://127.0.0.1:9/"


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def tar_gz(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """An archive of files; a TarInfo stands for a member that is not a file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def pack() -> Callable[[Mapping[str, bytes | tarfile.TarInfo]], bytes]:
    """The function that makes archives."""
    return tar_gz


@dataclass
class Small:
    """A small data set in a real format.

    Attributes:
        info: its description, with checksums of its own and an official address that nobody serves.
        mirror: folder that holds its archives as a mirror does.
        contents: of the unpacked files by path.
    """

    info: DatasetInfo
    mirror: Path
    contents: dict[str, bytes]

    @property
    def archive(self) -> Archive:
        return self.info.archives[0]

    def unpack_into(self, folder: Path) -> None:
        for path, content in self.contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)

    def repack(self, archive: bytes) -> None:
        """Let the mirror have another archive, and the description its checksum."""
        (self.mirror / self.archive.path).write_bytes(archive)
        self.info = self.with_archive(md5=md5(archive))

    def with_archive(self, **changes: Any) -> DatasetInfo:
        """The description with another archive, such as ``md5=…`` or ``urls=…``."""
        return replace(self.info, archives=(replace(self.archive, **changes),))


def small_cifar(
    name: str, mirror: Path, parts: dict[str, dict[str, Any]], train: int, test: int
) -> Small:
    """Write CIFAR's format: pickled dictionaries in one archive."""
    info = get_dataset_info(name)
    base = {"cifar100": "cifar-100-python", "cifar10": "cifar-10-batches-py"}[name]
    contents = {
        f"{base}/{part}": pickle.dumps(values, protocol=2) for part, values in parts.items()
    }
    packed = tar_gz(contents)
    path = {"cifar100": "cifar-100-python.tar.gz", "cifar10": "cifar-10-python.tar.gz"}[name]
    (mirror / path).parent.mkdir(parents=True, exist_ok=True)
    (mirror / path).write_bytes(packed)
    files = tuple(StoredFile(file, md5(content)) for file, content in contents.items())
    archive = Archive(path, md5(packed), (NO_ADDRESS + path,), files)
    info = replace(info, train_images=train, test_images=test, archives=(archive,))
    return Small(info, mirror, contents)


def cifar100_part(images: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    fine = [index % 100 for index in range(images)]
    # Classes differ in brightness, so that there is something to learn.
    noise = rng.integers(0, 128, (images, 3 * 32 * 32))
    brightness = np.array(fine)[:, None]
    return {
        "filenames": [f"image_{index}.png" for index in range(images)],
        "fine_labels": fine,
        "coarse_labels": [label // 5 for label in fine],
        "data": (noise + brightness).astype(np.uint8),
        "batch_label": "made for a test",
    }


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that is not there yet, undisturbed by the user's settings."""
    for variable in ("INDIAN_TUNE_DATA", "INDIAN_TUNE_MIRROR"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "data"


@pytest.fixture
def small_cifar100(tmp_path: Path) -> Small:
    """300 training and 100 test images in CIFAR-100's format."""
    parts = {
        "train": cifar100_part(300, 1),
        "test": cifar100_part(100, 2),
        "meta": {
            "fine_label_names": [f"fine {index}" for index in range(100)],
            "coarse_label_names": [f"coarse {index}" for index in range(20)],
        },
    }
    return small_cifar("cifar100", tmp_path / "mirror", parts, 300, 100)


@pytest.fixture
def small_cifar10(tmp_path: Path) -> Small:
    """Five training batches of 4 images and 10 test images in CIFAR-10's format."""
    rng = np.random.default_rng(3)
    parts: dict[str, dict[str, Any]] = {}
    for number in range(1, 6):
        parts[f"data_batch_{number}"] = {
            "labels": [number, number, 0, 9],
            "data": np.full((4, 3 * 32 * 32), number, dtype=np.uint8),
        }
    parts["test_batch"] = {
        "labels": list(range(10)),
        "data": rng.integers(0, 256, (10, 3 * 32 * 32), dtype=np.uint8),
    }
    parts["batches.meta"] = {"label_names": [str(label) for label in range(10)]}
    return small_cifar("cifar10", tmp_path / "mirror", parts, 20, 10)


def idx(values: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The MNIST family's format: two zeros, type 8 (uint8), dimensions, then the values."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


@pytest.fixture
def small_mnist(tmp_path: Path) -> Small:
    """40 training and 20 test images in MNIST's format."""
    rng = np.random.default_rng(4)
    contents, archives = {}, []
    for prefix, images in (("train", 40), ("t10k", 20)):
        pixels = rng.integers(0, 256, (images, 28, 28), dtype=np.uint8)
        labels = (np.arange(images) % 10).astype(np.uint8)
        for name, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            path = f"MNIST/raw/{prefix}-{name}-ubyte"
            contents[path] = idx(values)
            packed = gzip.compress(contents[path], mtime=0)
            kept = tmp_path / "mirror" / f"{path}.gz"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(packed)
            archives.append(
                Archive(f"{path}.gz", md5(packed), (f"{NO_ADDRESS}{path}.gz",), (StoredFile(path),))
            )
    info = replace(
        get_dataset_info("mnist"),
        train_images=40,
        test_images=20,
        archives=tuple(archives),
    )
    return Small(info, tmp_path / "mirror", contents)


@dataclass
class Mirror:
    """A running server of a folder.

    Attributes:
        address: base address.
        requests: path and ``Range`` header of every request so far.
        ranges: whether it serves parts of files.
        cuts: after how many bytes the next answers break off, first answer first.
        length: what answers say of their length, nothing if empty; the truth if ``None``.
    """

    folder: Path
    address: str = ""
    ranges: bool = True
    length: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Mirror]]:
    """Start servers of folders on the local address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(folder: Path) -> Mirror:
        mirror = Mirror(folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(mirror))
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        mirror.address = f"http://127.0.0.1:{server.server_port}"
        return mirror

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _handler(mirror: Mirror) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            mirror.requests.append((self.path, wanted))
            path = mirror.folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            start = 0
            if wanted and mirror.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/*")
            else:
                self.send_response(200)
            length = str(len(content) - start) if mirror.length is None else mirror.length
            if length:
                self.send_header("Content-Length", length)
            self.end_headers()
            end = start + mirror.cuts.pop(0) if mirror.cuts else len(content)
            # A client with a full disk hangs up.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    return Handler
