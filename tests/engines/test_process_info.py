"""Who is known to be dead."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from indian_tune.engines import process_info
from indian_tune.ledger import WorkerRecord


def worker(pid: int, started: str, host: str | None = None) -> WorkerRecord:
    now = datetime.now(UTC)
    return WorkerRecord(
        id="worker",
        study_id=1,
        host=process_info.host() if host is None else host,
        pid=pid,
        process_started=started,
        device="cpu",
        started_at=now,
        heartbeat_at=now,
        left_at=None,
    )


def test_a_process_at_work_is_alive_and_another_with_its_id_is_not() -> None:
    me = os.getpid()
    assert not process_info.is_dead(worker(me, process_info.started(me)))
    assert process_info.is_dead(worker(me, "1"))


@pytest.mark.skipif(not psutil.LINUX, reason="reads the start time as Linux tells it")
def test_a_worker_is_known_by_the_kernel_s_ticks_in_databases_of_every_version() -> None:
    me = os.getpid()
    ticks = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
    assert process_info.started(me) == ticks
    assert not process_info.is_dead(worker(me, ticks))


@pytest.mark.skipif(not psutil.LINUX, reason="sets the clock as psutil sees it on Linux")
def test_a_worker_stays_alive_when_the_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.getpid()
    record, before = worker(me, process_info.started(me)), psutil.Process(me).create_time()
    boot = psutil.boot_time()
    # The kernel tells the time of the boot as now less the time since, so it moves with the clock.
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot + 3600)
    # psutil before 7.0 keeps it from its first look.
    monkeypatch.setattr("psutil._pslinux.BOOT_TIME", boot + 3600, raising=False)
    assert psutil.Process(me).create_time() == pytest.approx(before + 3600)
    assert not process_info.is_dead(record)


def test_other_systems_are_asked_through_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "LINUX", False)
    me = os.getpid()
    assert float(process_info.started(me)) == psutil.Process(me).create_time()
    assert not process_info.is_dead(worker(me, process_info.started(me)))
    assert process_info.is_dead(worker(me, "1.0"))


def test_a_process_that_cannot_be_seen_is_not_known_to_be_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    me = os.getpid()
    # As recorded where the system did not say.
    assert not process_info.is_dead(worker(me, ""))

    def hidden(pid: int) -> psutil.Process:
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", hidden)
    assert not process_info.is_dead(worker(me, "1"))


def test_a_worker_on_another_host_is_not_known_to_be_dead() -> None:
    assert not process_info.is_dead(worker(os.getpid(), "1", host="elsewhere"))


def test_a_zombie_is_dead_before_its_parent_has_looked() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    record = worker(process.pid, process_info.started(process.pid))
    assert not process_info.is_dead(record)
    process.kill()
    # Waits for its end and leaves it a zombie.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert process_info.is_dead(record)
    finally:
        process.communicate()
    assert process_info.is_dead(record)


@pytest.mark.parametrize("forbidden", [True, False])
def test_a_python_that_heeds_no_variables_writes_no_bytecode_either(
    forbidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", forbidden)
    asked = [*process_info.isolated_python(), "-c", "import sys; print(sys.dont_write_bytecode)"]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stdout == f"{forbidden}\n"
