"""A full disk and a database that cannot be written: refused clearly, and nothing harmed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from indian_tune.errors import StorageError, UnwritableError
from indian_tune.ledger import ArmPlan, Ledger, LedgerReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a file system of that size in memory, which needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir()
    options = f"size={size}".encode()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) != 0:
        pytest.skip(f"a file system cannot be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        libc.umount2(os.fsencode(folder), 2)


def intact(file: Path) -> bool:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def searching(toml: Path, database: Path) -> subprocess.CompletedProcess[str]:
    """Run a search by the real program."""
    return subprocess.run(
        [sys.executable, "-m", "indian_tune", "search", toml.name, "--engine", "inline"],
        cwd=toml.parent,
        env={**os.environ, "INDIAN_TUNE_STORAGE": str(database)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system as Linux does")
def test_a_full_disk_ends_a_search_and_harms_nothing(
    tmp_path: Path, tiny: dict[str, object], write_study: Callable[..., Path]
) -> None:
    disk = tmp_path / "disk"
    file = disk / "study.db"
    study = write_study(tiny)
    with small_disk(disk, "4m"):
        with Ledger.open(str(file)) as ledger:
            ledger.register("other", {}, "hash", [ArmPlan("indian", "indian", 500)])
            before = ledger.trials(1)
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(bytes(4096))
        done = searching(study, file)
        assert done.returncode == 1
        assert "Earlier records are safe: free disk space" in done.stderr
        assert "Traceback" not in done.stderr
        ballast.unlink()
        assert intact(file)
        with LedgerReader.open(str(file)) as reader:
            assert reader.trials(1) == before
        # With room again, the same command does its work.
        done = searching(study, file)
        assert (done.returncode, done.stderr.count("Error")) == (0, 0)
        assert intact(file)


def test_a_write_without_room_is_refused_and_leaves_the_database_as_it_was(storage: str) -> None:
    with Ledger.open(storage) as ledger:
        ledger.register("first", {}, "hash", [ArmPlan("indian", "indian", 3)])
        before = ledger.studies(), ledger.trials(1)
        with ledger._writer.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            # SQLite's own limit fails as a full disk does.
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UnwritableError, match="database or disk is full"):
            ledger.register("second", {"x": "y" * 10**6}, "hash", [ArmPlan("sgd", "sgd", 3)])
        assert (ledger.studies(), ledger.trials(1)) == before
        assert ledger.integrity_errors() == []


def test_a_damaged_database_says_how_to_save_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "a study.db"
    with Ledger.open(str(file)) as ledger:
        ledger.register("first", {}, "hash", [ArmPlan("indian", "indian", 300)])
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with (
        pytest.raises(StorageError, match=r"malformed\. .*`sqlite3 '.*/a study\.db' \.recover \|"),
        LedgerReader.open(str(file)) as reader,
    ):
        reader.studies()


def test_a_database_that_turns_read_only_is_refused_and_still_opens(storage: str) -> None:
    with Ledger.open(storage) as ledger:
        study = ledger.register("first", {}, "hash", [ArmPlan("indian", "indian", 3)])
        with ledger._writer.connect() as connection:
            connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(UnwritableError, match="attempt to write a readonly database"):
            ledger.join(study.id, "worker", host="here", pid=1, started="0", device="cpu")
        assert [trial.index for trial in ledger.trials(study.id)] == [0, 1, 2]
    with LedgerReader.open(storage) as reader:
        assert reader.integrity_errors() == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_log_that_is_deleted_while_it_is_written_is_told(tmp_path: Path, replaced: bool) -> None:
    file = tmp_path / "open.db"
    with Ledger.open(str(file)) as ledger:
        study = ledger.register("s", {}, "hash", [ArmPlan("a", "sgd", 1)])
        log = tmp_path / "open.db-wal"
        log.unlink()
        if replaced:
            log.write_bytes(b"")
        with pytest.raises(UnwritableError, match=r"open\.db-wal was deleted or replaced while"):
            ledger.record_event(study.id, "note", {})
