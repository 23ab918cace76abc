"""Ctrl-C twice ends everything within ten seconds, whatever a model or a database does."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.engines.test_own_exits import MODEL, STUDY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Locked twice by the same thread: it never returns, gives nothing to others, and heeds no signal.
HOLD = (
    "import ctypes; lock = ctypes.create_string_buffer(64)\n"
    "for _ in range(2): ctypes.PyDLL(None).pthread_mutex_lock(lock)"
)
IGNORE = (
    "import signal, time\n"
    "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
    "while True:\n"
    "    try: time.sleep(300)\n"
    "    except BaseException: pass"
)
LIMIT_SECONDS = 10.0
# In the first step that the study's own code is tried with, before anything is registered.
HANGS_AT_ONCE = MODEL.replace("Net.steps == 4", "Net.steps == 1")


def wait_for(condition: Callable[[], bool]) -> None:
    # Ray takes its time to start on a machine that is busy with other tests.
    deadline = time.monotonic() + 150
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def seconds_to_end(process: subprocess.Popen[str], *, group: bool = False) -> float:
    """Ask twice to stop; return how long it took until nothing of it was left.

    Args:
        process: leads a group of its own.
        group: whether to ask as a terminal does, which tells everybody.
    """
    started = [process.pid, *(c.pid for c in psutil.Process(process.pid).children(recursive=True))]
    ask = os.killpg if group else os.kill
    ask(process.pid, signal.SIGINT)
    time.sleep(0.5)
    ask(process.pid, signal.SIGINT)
    start = time.monotonic()
    process.wait(60)
    took = time.monotonic() - start
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in started))
    return took


def hanging(
    folder: Path, end: str, stack: ExitStack, *options: str, model: str = MODEL
) -> subprocess.Popen[str]:
    """Start a search, and wait until its model hangs."""
    (folder / "ending.py").write_text(model)
    (folder / "ends.toml").write_text(STUDY)
    process = stack.enter_context(
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "indian_tune",
                "search",
                "ends.toml",
                "--allow-import",
                *options,
            ],
            cwd=folder,
            env={**os.environ, "END": end},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )
    stack.callback(process.kill)
    wait_for(lambda: (folder / "ended").exists())
    time.sleep(0.3)
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", [HOLD, pytest.param(IGNORE, marks=pytest.mark.night)], ids=["gil", "ignore"]
)
def test_workers_are_killed_whatever_their_model_does(tmp_path: Path, end: str) -> None:
    with ExitStack() as stack:
        process = hanging(tmp_path, end, stack, "--workers", "2")
        assert seconds_to_end(process) < LIMIT_SECONDS
        assert process.returncode == 130
        assert process.stderr is not None
        log = process.stderr.read()
        assert "all results are kept" in log
        assert "indian-tune search" in log


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", [HOLD, pytest.param(IGNORE, marks=pytest.mark.night)], ids=["gil", "ignore"]
)
def test_a_search_in_this_process_is_killed_whatever_its_model_does(
    tmp_path: Path, end: str
) -> None:
    with ExitStack() as stack:
        process = hanging(tmp_path, end, stack, "--engine", "inline")
        assert seconds_to_end(process, group=True) < LIMIT_SECONDS
        assert process.stderr is not None
        log = process.stderr.read()
        assert "did not stop and was killed" in log
        assert "Continue with:\n  indian-tune search ends.toml --engine inline" in log


@pytest.mark.slow
def test_a_search_that_tries_own_code_is_killed_whatever_that_does(tmp_path: Path) -> None:
    with ExitStack() as stack:
        process = hanging(tmp_path, HOLD, stack, "--engine", "inline", model=HANGS_AT_ONCE)
        assert seconds_to_end(process, group=True) < LIMIT_SECONDS
        assert process.stderr is not None
        log = process.stderr.read()
        assert log.startswith("Trying the study's own code")
        assert "did not stop and was killed" in log
    assert not (tmp_path / "indian-tune.db").exists()


@pytest.mark.slow
def test_a_database_that_another_keeps_locked_holds_nobody(tmp_path: Path) -> None:
    with ExitStack() as stack:
        process = hanging(tmp_path, HOLD, stack, "--workers", "1")
        other = sqlite3.connect(tmp_path / "indian-tune.db", isolation_level=None)
        stack.callback(other.close)
        other.execute("BEGIN IMMEDIATE")
        # Replaced workers are recorded, which now waits in SQLite, where no signal is answered.
        for child in psutil.Process(process.pid).children(recursive=True):
            if "guard.py" not in " ".join(child.cmdline()):
                child.kill()
        time.sleep(1)
        assert seconds_to_end(process) < LIMIT_SECONDS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_is_ended_whatever_a_model_does(tmp_path: Path) -> None:
    with ExitStack() as stack:
        process = hanging(tmp_path, HOLD, stack, "--engine", "ray", "--workers", "1")
        assert seconds_to_end(process) < LIMIT_SECONDS


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "end", [HOLD, pytest.param(IGNORE, marks=pytest.mark.night)], ids=["gil", "ignore"]
)
def test_an_actor_of_ray_whose_driver_is_killed_ends_whatever_its_model_does(
    tmp_path: Path, end: str
) -> None:
    with ExitStack() as stack:
        process = hanging(tmp_path, end, stack, "--engine", "ray", "--workers", "1")
        actors = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "Trainable" in " ".join(child.cmdline())
        ]
        assert actors
        process.kill()
        # 3 s were measured; the agents of Ray's own stay for a minute.
        assert psutil.wait_procs(actors, timeout=30)[1] == []


PROGRAM = """
import sys
import indian_tune.engines.interrupt as interrupt
interrupt.GUARD_SECONDS = 0.5
with interrupt.interruptible(lambda: None):
    print("ready", flush=True)
    exec(sys.argv[1])
print("after", flush=True)
"""


def program(does: str, stack: ExitStack) -> subprocess.Popen[str]:
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, does],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("group", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_second_request_ends_a_process_that_holds_the_interpreter(group: bool) -> None:
    with ExitStack() as stack:
        process = program(HOLD, stack)
        assert 0.4 < seconds_to_end(process, group=group) < LIMIT_SECONDS
        assert process.returncode == -signal.SIGKILL


def test_one_request_ends_nothing_and_leaves_no_guard() -> None:
    with ExitStack() as stack:
        process = program("import time; time.sleep(1)", stack)
        (guard,) = psutil.Process(process.pid).children()
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read() == "after\n"
        assert process.wait(10) == 0
        assert not guard.is_running()


def test_an_end_of_our_own_is_not_taken_for_one_of_own_code() -> None:
    does = (
        "import sys\n"
        "from indian_tune.engines.interrupt import end_at_once\n"
        "from indian_tune.imports import imports_allowed\n"
        "with imports_allowed([]): end_at_once(0)"
    )
    done = subprocess.run([sys.executable, "-c", does], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_worker_ends_by_its_second_sigterm_and_the_first_changes_nothing() -> None:
    does = (
        "import os, signal\n"
        "from indian_tune.engines.local.processes import _Terminated\n"
        "terminated = _Terminated()\n"
        "before = signal.getsignal(signal.SIGTERM)\n"
        "for _ in range(2):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        # Or the trial in hand would be said to have changed the signal handlers.
        "    print(terminated.asked, signal.getsignal(signal.SIGTERM) == before, flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", does], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "True True\n"), done.stderr
