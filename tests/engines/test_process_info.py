"""Who is known to be dead."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

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
