from __future__ import annotations

import sqlite3
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from indian_tune.cli import main
from indian_tune.ledger import ArmPlan, EpochEntry, Ledger, LedgerReader, Phase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import PostgresServer


@pytest.fixture
def export(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run the command; return its status and what it said."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["indian-tune", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    return run


def test_a_copy_of_a_database_in_use_is_whole(
    storage: str, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    stop = threading.Event()
    written = threading.Event()
    with Ledger.open(storage) as ledger:
        study = ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
        ledger.join(study.id, "worker", host="here", pid=1, started="0", device="cpu")
        lease = ledger.claim(study.id, Phase.TUNE, "worker")
        assert lease is not None
        (run,) = ledger.begin(lease, {}, 1, seeds=(0,), epochs=9999, provenance={})

        def write() -> None:
            epoch = 0
            while not stop.is_set():
                epoch += 1
                ledger.record_epochs(lease, [EpochEntry(run.id, epoch, epoch, 1, 1, 1, 1, 1, 1, 1)])
                written.set()

        writer = threading.Thread(target=write)
        writer.start()
        written.wait()
        try:
            for n in range(5):
                status, said = export("--db", tmp_path / f"copy-{n}.db", "--storage", storage)
                assert (status, "copied to" in said) == (0, True)
        finally:
            stop.set()
            writer.join()
        last = ledger.runs(lease.trial.id)[0].epochs_done
    counts = []
    for n in range(5):
        with sqlite3.connect(tmp_path / f"copy-{n}.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
        with LedgerReader.open(str(tmp_path / f"copy-{n}.db")) as copy:
            (run,) = copy.runs(lease.trial.id)
            assert [row.epoch for row in copy.epochs(run.id)] == list(range(1, run.epochs_done + 1))
            counts.append(run.epochs_done)
    assert counts == sorted(counts)
    assert 0 < counts[-1] <= last


def test_a_file_that_is_there_is_not_overwritten(
    storage: str, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    with Ledger.open(storage) as ledger:
        ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
    copy = tmp_path / "copy.db"
    copy.write_text("something precious")
    status, said = export("--db", copy, "--storage", storage)
    assert (status, "exists and is not overwritten: name another file" in said) == (2, True)
    assert copy.read_text() == "something precious"


def test_a_copy_into_a_folder_that_does_not_exist_is_refused(
    storage: str, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    with Ledger.open(storage) as ledger:
        ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
    status, said = export("--db", tmp_path / "no" / "copy.db", "--storage", storage)
    assert (status, "does not exist" in said) == (2, True)


@pytest.mark.postgres
def test_a_server_s_database_is_left_to_its_own_program(
    postgres: PostgresServer, tmp_path: Path, export: Callable[..., tuple[int, str]]
) -> None:
    address = postgres.new_database()
    with Ledger.open(address) as ledger:
        ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", 1)])
    status, said = export("--db", tmp_path / "copy.db", "--storage", address)
    assert (status, "pg_dump --format=custom" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []
