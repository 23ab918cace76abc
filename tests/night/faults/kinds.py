"""The kinds of faults: what is done to a search, and what undoes it after some seconds."""

from __future__ import annotations

import contextlib
import resource
import signal
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil
import psycopg

from tests.night.faults.study import EPOCH_TIMEOUT

if TYPE_CHECKING:
    import random
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import PostgresServer
    from tests.relay import Relay


@dataclass
class Target:
    """A search under attack.

    Attributes:
        folder: of the round; its processes bear its name in their environment.
        driver: the command that runs now.
        choose: what is left open is drawn from here.
        address: of the database, past the relay.
        server: and ``relay``, before it: of PostgreSQL; ``None`` on SQLite.
        asked: processes that were asked to end, and may not have ended yet.
    """

    folder: Path
    driver: subprocess.Popen[bytes]
    choose: random.Random
    address: str
    server: PostgresServer | None = None
    relay: Relay | None = None
    asked: set[int] = field(default_factory=set)

    def processes(self) -> list[psutil.Process]:
        """Return the living processes of the round."""
        return list(processes(self.folder))

    def workers(self) -> list[psutil.Process]:
        """Return the processes that train, but the driver, and the one that forks them.

        Ray's actors are among them.
        """
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if process.pid != self.driver.pid and any(
                    word in line for word in ("multiprocessing.spawn", "ray::TrialTrainable")
                ):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def named(self, *words: str) -> list[psutil.Process]:
        """Return the processes whose program has one of these names."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if any(word in process.name() for word in words):
                    found.append(process)
        return found


def processes(folder: Path) -> Iterator[psutil.Process]:
    """Yield the living processes whose environment names a folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(
                "FAULTS_FOLDER"
            ) == str(folder):
                yield process


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        do: does it; returns what undoes it, ``False`` where there was nothing to do it to.
        deadly: whether it may end an attempt at each of the trials in hand.
        on: engines and databases that it is for; all if empty.
        stops: whether it asks the search to stop.
    """

    do: Callable[[Target], Callable[[], None] | bool]
    deadly: bool = False
    on: frozenset[str] = frozenset()
    stops: bool = False


def _send(number: signal.Signals, *, driver: bool) -> Callable[[Target], bool]:
    def do(target: Target) -> bool:
        if driver:
            target.driver.send_signal(number)
            return target.driver.poll() is None
        workers = target.workers()
        if not workers:
            return False
        with contextlib.suppress(psutil.Error):
            target.choose.choice(workers).send_signal(number)
        return True

    return do


def _terminate_worker(target: Target) -> bool:
    """Ask a worker to leave after its epoch; asked a second time, it would die."""
    workers = [each for each in target.workers() if each.pid not in target.asked]
    if not workers:
        return False
    chosen = target.choose.choice(workers)
    target.asked.add(chosen.pid)
    with contextlib.suppress(psutil.Error):
        chosen.terminate()
    return True


def _halt(*, driver: bool) -> Callable[[Target], Callable[[], None] | bool]:
    def do(target: Target) -> Callable[[], None] | bool:
        workers = [psutil.Process(target.driver.pid)] if driver else target.workers()
        if not workers:
            return False
        chosen = target.choose.choice(workers)

        def go_on() -> None:
            with contextlib.suppress(psutil.Error):
                chosen.resume()

        with contextlib.suppress(psutil.Error):
            chosen.suspend()
        return go_on

    return do


def _order(code: str) -> Callable[[Target], bool]:
    """Have the next training step run some code."""

    def do(target: Target) -> bool:
        orders = target.folder / "orders"
        number = len(list(orders.iterdir()))
        draft = orders / f"{number}.draft"
        draft.write_text(code)
        draft.rename(orders / f"{number}.py")
        return True

    return do


def _twice(target: Target) -> bool:
    target.driver.send_signal(signal.SIGINT)
    with contextlib.suppress(Exception):
        target.driver.wait(0.3)
    target.driver.send_signal(signal.SIGINT)
    return True


def _limit(target: Target) -> Callable[[], None] | bool:
    """Let the workers write no file of more than a kilobyte, as on a full disk."""
    workers = target.workers() or [psutil.Process(target.driver.pid)]
    for worker in workers:
        with contextlib.suppress(psutil.Error, OSError):
            _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (1024, hard))

    def lift() -> None:
        for worker in workers:
            with contextlib.suppress(psutil.Error, OSError):
                _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (hard, hard))

    return lift


def _spoil(how: str) -> Callable[[Target], bool]:
    def do(target: Target) -> bool:
        files = sorted((target.folder / "artifacts").rglob("*.ckpt"))
        if not files:
            return False
        with contextlib.suppress(OSError):
            chosen = target.choose.choice(files)
            if how == "remove":
                chosen.unlink()
            else:
                content = chosen.read_bytes()
                half = len(content) // 2
                chosen.write_bytes(content[:half] + (b"" if how == "cut" else b"\0" * half))
        return True

    return do


def _mute(target: Target) -> Callable[[], None]:
    relay = target.relay
    assert relay is not None
    relay.mute.set()

    def speak() -> None:
        relay.mute.clear()
        # What was swallowed never comes: the connections are of no more use, as in life.
        relay.cut()

    return speak


def _refuse(target: Target) -> Callable[[], None]:
    relay = target.relay
    assert relay is not None
    relay.refuses.set()
    relay.cut()
    return relay.refuses.clear


def _cut(target: Target) -> bool:
    assert target.relay is not None
    target.relay.cut()
    return True


def _restart(target: Target) -> Callable[[], None]:
    assert target.server is not None
    target.server.stop()
    return target.server.start


def _terminate(target: Target) -> bool:
    with contextlib.suppress(psycopg.Error):
        address = target.address.replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    return True


def _lock(target: Target) -> Callable[[], None] | bool:
    connection = sqlite3.connect(target.folder / "study.db", isolation_level=None, timeout=1)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error:
        connection.close()
        return False
    return connection.close


def _kill_named(*names: str) -> Callable[[Target], bool]:
    def do(target: Target) -> bool:
        found = target.named(*names)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return bool(found)

    return do


_PROCESSES = frozenset({"optuna"})
_PARALLEL = frozenset({"optuna", "ray"})
_LOCAL = frozenset({"optuna", "inline"})
_POSTGRESQL = frozenset({"postgresql"})
_RAY = frozenset({"ray"})

KINDS: dict[str, Kind] = {
    "kill-worker": Kind(_send(signal.SIGKILL, driver=False), deadly=True, on=_PARALLEL),
    "kill-driver": Kind(_send(signal.SIGKILL, driver=True), deadly=True),
    "term-worker": Kind(_terminate_worker, on=_PROCESSES),
    "term-driver": Kind(_send(signal.SIGTERM, driver=True), stops=True),
    "int-worker": Kind(_send(signal.SIGINT, driver=False), on=_PROCESSES),
    "int-driver": Kind(_send(signal.SIGINT, driver=True), stops=True),
    "int-twice": Kind(_twice, deadly=True, stops=True),
    "halt-worker": Kind(_halt(driver=False), deadly=True, on=_PROCESSES),
    "halt-driver": Kind(_halt(driver=True), deadly=True),
    "exit": Kind(_order("import sys; sys.exit(0)"), deadly=True),
    "exit-hard": Kind(_order("import os; os._exit(0)"), deadly=True),
    "exit-3": Kind(_order("import os; os._exit(3)"), deadly=True),
    "segfault": Kind(_order("import os; os.kill(os.getpid(), 11)"), deadly=True),
    "exception": Kind(_order("raise RuntimeError('out of order')"), deadly=True),
    "nul": Kind(_order(r"raise ValueError('a\0b \ud800')"), deadly=True),
    "memory": Kind(_order("raise MemoryError"), deadly=True),
    "interrupt": Kind(_order("raise KeyboardInterrupt"), deadly=True),
    "slow": Kind(_order("import time; time.sleep(6)")),
    "gil": Kind(_order("import ctypes; ctypes.PyDLL(None).sleep(6)"), deadly=True),
    "stdout": Kind(_order("import sys; sys.stdout.close(); sys.stderr.close()"), on=_PROCESSES),
    "chdir": Kind(_order("import os; os.chdir('/')"), on=_LOCAL),
    "full-disk": Kind(_limit, deadly=True, on=_LOCAL),
    "checkpoint-removed": Kind(_spoil("remove")),
    "checkpoint-cut": Kind(_spoil("cut")),
    "checkpoint-zeroed": Kind(_spoil("zero")),
    "database-mute": Kind(_mute, deadly=True, on=_POSTGRESQL),
    "database-refuses": Kind(_refuse, deadly=True, on=_POSTGRESQL),
    "database-cut": Kind(_cut, on=_POSTGRESQL),
    "database-restart": Kind(_restart, deadly=True, on=_POSTGRESQL),
    "database-terminates": Kind(_terminate, on=_POSTGRESQL),
    "database-locked": Kind(_lock, deadly=True, on=frozenset({"sqlite"})),
    "ray-raylet": Kind(_kill_named("raylet"), deadly=True, on=_RAY),
    "ray-gcs": Kind(_kill_named("gcs_server"), deadly=True, on=_RAY),
}
if EPOCH_TIMEOUT:
    KINDS["hang"] = Kind(_order("import time; time.sleep(10**6)"), deadly=True, on=_PROCESSES)


def kinds_for(engine: str, database: str) -> list[str]:
    """Return the kinds that an engine on a database can meet."""
    return [name for name, kind in KINDS.items() if not kind.on or kind.on & {engine, database}]
