from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from indian_tune.errors import StorageError
from indian_tune.ledger import Ledger
from indian_tune.ledger.mounts import NETWORK_FILE_SYSTEMS, file_system, network_file_system

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that folders are mount points of file systems."""

    def mount(**kinds: str) -> None:
        places = {Path("/"): "ext4", **{tmp_path / name: kind for name, kind in kinds.items()}}
        table = [SimpleNamespace(mountpoint=str(p), fstype=kind) for p, kind in places.items()]
        monkeypatch.setattr("psutil.disk_partitions", lambda **_: table)

    return mount


@pytest.mark.parametrize("kind", sorted(NETWORK_FILE_SYSTEMS))
def test_a_network_file_system_is_recognised(
    kind: str, tmp_path: Path, mounted: Callable[..., None]
) -> None:
    mounted(share=kind)
    assert network_file_system(tmp_path / "share" / "deep" / "study.db") == (
        kind,
        tmp_path / "share",
    )
    assert network_file_system(tmp_path / "shared.db") is None


def test_the_innermost_and_latest_mount_counts(
    tmp_path: Path, mounted: Callable[..., None]
) -> None:
    mounted(**{"share": "nfs4", "share/local": "xfs"})
    assert network_file_system(tmp_path / "share" / "local" / "study.db") is None
    assert network_file_system(tmp_path / "share" / "study.db") == ("nfs4", tmp_path / "share")


def test_a_link_to_a_mount_point_is_seen_through(
    tmp_path: Path, mounted: Callable[..., None]
) -> None:
    mounted(**{"our share": "cifs"})
    (tmp_path / "our share").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "our share")
    assert network_file_system(tmp_path / "link" / "study.db") == ("cifs", tmp_path / "our share")


def test_the_mounts_of_this_machine_are_known(tmp_path: Path) -> None:
    found = file_system(tmp_path / "study.db")
    assert found is not None
    kind, folder = found
    assert kind
    assert folder.is_mount()
    assert tmp_path.resolve().is_relative_to(folder)


def test_a_system_that_does_not_tell_its_mounts_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untold(**_: bool) -> None:
        raise FileNotFoundError("/proc/self/mounts")

    monkeypatch.setattr("psutil.disk_partitions", untold)
    assert network_file_system(tmp_path / "study.db") is None


def test_sqlite_on_a_network_file_system_is_refused_with_the_way_on(
    tmp_path: Path, mounted: Callable[..., None]
) -> None:
    mounted(share="nfs4")
    (tmp_path / "share").mkdir()
    with pytest.raises(StorageError, match=r"network file system \(nfs4 at .*PostgreSQL server"):
        Ledger.open(str(tmp_path / "share" / "study.db"))
    assert list((tmp_path / "share").iterdir()) == []
