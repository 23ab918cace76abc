"""Workers are forked by one process that has loaded torch, and are as they were without it."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.fork_server import ForkedProcess, ForkServer
from indian_tune.engines.local.processes import ProcessEngine
from tests.engines.test_interrupt import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from indian_tune.engines.settings import WorkerSettings


@contextmanager
def serving() -> Iterator[ForkServer]:
    # None of the processes needs torch, which takes seconds to load.
    server = ForkServer((__name__, "numpy.random"))
    try:
        yield server
    finally:
        server.end()


def server_process() -> psutil.Process:
    (found,) = (
        child
        for child in psutil.Process().children()
        if "multiprocessing.spawn" in " ".join(child.cmdline())
    )
    return found


def do(does: str, *ends: Connection) -> None:
    modules = {"atexit": atexit, "np": np, "os": os, "random": random, "signal": signal}
    exec(does, {**modules, "time": time, "ends": ends})


def status_of(server: ForkServer, does: str) -> int | None:
    process = server.start(do, [does], [])
    process.join(60)
    wait_for(lambda: process.exitcode is not None)
    return process.exitcode


def hanging(server: ForkServer) -> ForkedProcess:
    """Start a process that heeds no signal; return it once it runs."""
    ours, theirs = multiprocessing.Pipe()
    does = (
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "ends[0].send(None)\ntime.sleep(600)"
    )
    process = server.start(do, [does], [theirs])
    assert ours.poll(60)
    wait_for(lambda: process.pid is not None or not process.is_alive())
    return process


def test_a_forked_process_ends_with_the_status_that_it_gives() -> None:
    with serving() as server:
        assert status_of(server, "pass") == 0
        assert status_of(server, "os._exit(3)") == 3
        assert status_of(server, "os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL
        # Ctrl-C and a service manager's request reach the server as well.
        for number in (signal.SIGINT, signal.SIGTERM):
            server_process().send_signal(number)
        assert status_of(server, "os._exit(4)") == 4
        assert server.alive


def test_a_forked_process_draws_numbers_of_its_own_and_ends_as_a_program_does() -> None:
    does = (
        "atexit.register(lambda: ends[0].send('at exit'))\n"
        "ends[0].send((random.random(), np.random.random()))"
    )
    drawn = []
    with serving() as server:
        for _ in range(2):
            ours, theirs = multiprocessing.Pipe()
            process = server.start(do, [does], [theirs])
            theirs.close()
            drawn.append(ours.recv())
            assert ours.recv() == "at exit"
            process.join(60)
            # Nobody else holds the other end.
            with pytest.raises(EOFError):
                ours.recv()
    (first, second) = drawn
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_a_server_that_is_killed_takes_its_processes_with_it() -> None:
    with serving() as server:
        process = hanging(server)
        assert process.pid is not None
        server_process().kill()
        wait_for(lambda: process.exitcode is not None)
        assert process.exitcode == -signal.SIGKILL
        assert not server.alive
        wait_for(lambda: not psutil.pid_exists(process.pid or 0))


def test_the_end_of_a_server_is_the_end_of_what_it_has_started() -> None:
    with serving() as server:
        process = hanging(server)
        server.end()
        assert process.exitcode == -signal.SIGKILL
        assert not psutil.pid_exists(process.pid or 0)


DRIVER = """
import time
import tests.engines.test_fork_server as test
with test.serving() as server:
    print(test.hanging(server).pid, test.server_process().pid, flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_its_driver_though_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        worker, server = map(int, driver.stdout.readline().split())
        driver.kill()
        try:
            # A worker has time for its epoch: its keeper ends it.
            psutil.Process(worker).status()
            wait_for(lambda: not psutil.pid_exists(server))
        finally:
            os.kill(worker, signal.SIGKILL)


def look(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Write down where this worker comes from, and stay until all have."""
    threads = len(psutil.Process(os.getppid()).threads())
    initialised = sys.modules["torch"].cuda.is_initialized()
    seen = f"{os.getppid()} {threads} {initialised}"
    (settings.artifacts / str(os.getpid())).write_text(seen)
    while len(list(settings.artifacts.iterdir())) < 2 and not should_stop():
        time.sleep(0.01)


@pytest.mark.slow
def test_all_workers_are_forked_by_one_process_with_one_thread_and_without_cuda(
    tmp_path: Path, settings_for: Callable[..., WorkerSettings]
) -> None:
    seen = tmp_path / "artifacts"
    seen.mkdir()
    ProcessEngine([settings_for("")] * 2, look).run(Interrupt(), lambda: None)
    (both,) = {file.read_text() for file in seen.iterdir()}
    parent, threads, initialised = both.split()
    assert int(parent) != os.getpid()
    assert (threads, initialised) == ("1", "False")
