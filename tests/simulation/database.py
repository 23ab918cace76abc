"""One SQLite file that workers reach through connections that fail as a seed draws.

The statements are those of the ledger and run on the real file. In front of each, and around each
commit, a worker may lose its turn, its connection or its life. A commit may fail, or succeed with
its answer lost, or be carried out only after the worker was told that it failed, as by a server
that is cut off.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.ledger import storage_url
from indian_tune.ledger.database import connect

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from datetime import datetime

    from tests.simulation.scheduler import Scheduler

# Virtual seconds that a writer waits between looks at the lock.
LOOK_SECONDS = 0.01
IDLE_LIMIT = 30.0


class PowerCutError(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Rates:
    """How often each fault happens: shares of statements, or of commits where said.

    Attributes:
        turn: another task goes on first.
        late: the answer takes seconds.
        crash: the process ends.
        broken: the connection breaks; of the commits a third each fails, is answered by an error,
            and is carried out later.
        disk: the write fails for good, as on a full disk.
        partition: the worker is cut off for up to two minutes and more.
        halt: the process stands still for up to minutes; a server ends a transaction that waits for
            its worker so long.
        commit: crash or broken connection at a commit, of commits.
    """

    turn: float = 0.2
    late: float = 0.01
    crash: float = 0.002
    broken: float = 0.004
    disk: float = 0.0005
    partition: float = 0.0005
    halt: float = 0.001
    commit: float = 0.02


CALM = Rates(0.05, 0, 0, 0, 0, 0, 0, 0)


@dataclass(eq=False)
class Process:
    """A process that uses the database.

    Attributes:
        name: of it.
        alive: whether it still is.
        cut_off_until: virtual time until which it cannot reach the database.
        halted_until: virtual time until which it does nothing at all.
        spared: whether no fault meets it.
    """

    name: str
    alive: bool = True
    cut_off_until: float = 0.0
    halted_until: float = 0.0
    spared: bool = False


@dataclass
class World:
    """What all connections share.

    Attributes:
        scheduler: gives turns.
        draw: draws all faults.
        clock: of the database.
        rates: of faults; those of calm weather in the end.
        transactions: that were committed.
        faults: how many there were, by kind.
    """

    scheduler: Scheduler
    draw: random.Random
    clock: Callable[[], datetime]
    rates: Rates
    writer: object | None = None
    transactions: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    def happens(self, kind: str, share: float) -> bool:
        """Draw whether a fault happens now, and count it."""
        if share <= 0 or self.draw.random() >= share:
            return False
        self.count(kind)
        return True

    def count(self, kind: str) -> None:
        """Count a fault."""
        self.faults[kind] = self.faults.get(kind, 0) + 1


class FaultyDatabase:
    """Stands between the engine of all processes and the driver.

    Args:
        path: of the file, which has its tables.
        world: draws the faults.
    """

    def __init__(self, path: str, world: World) -> None:
        self.url = storage_url(path)
        self._world = world
        # Who uses a connection; and those whose commit is on its way, while they are believed lost.
        self._users: dict[Any, Process] = {}
        self._on_their_way: set[Any] = set()
        engine = self._engine = connect(self.url, write=True)
        engine.dispose()
        pool: Any = engine.pool
        pool._max_overflow = -1
        dialect: Any = engine.dialect
        self._rollback, self._close = dialect.do_rollback, dialect.do_close
        dialect.do_commit, dialect.do_rollback = self._do_commit, self._do_rollback
        dialect.do_close = dialect.do_terminate = self._do_close
        dialect.is_disconnect = lambda error, *_: isinstance(error, _BrokenConnectionError)
        sa.event.listen(engine, "before_cursor_execute", self._before)
        sa.event.listen(engine, "handle_error", _keep_pool)

    def engine(self, process: Process) -> sa.Engine:
        """Return the engine as a process uses it."""
        return self._engine.execution_options(process=process, clock=self._world.clock)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _before(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        world = self._world
        process = connection.get_execution_options()["process"]
        driver = connection.connection.driver_connection
        self._users[driver] = process
        rates = world.rates
        self._check_alive(process)
        if statement == "BEGIN IMMEDIATE":
            while world.writer is not None:
                world.scheduler.sleep(LOOK_SECONDS)
                self._check_alive(process)
            world.writer = driver
        if process.spared:
            return
        if world.happens("crash", rates.crash):
            self._die(process)
        if world.happens("partition", rates.partition):
            process.cut_off_until = world.scheduler.now + world.draw.choice((5.0, 60.0, 200.0))
        if process.cut_off_until > world.scheduler.now or world.happens("broken", rates.broken):
            raise _BrokenConnectionError("connection lost")
        if world.happens("disk", rates.disk):
            raise _full()
        if world.happens("halt", rates.halt):
            process.halted_until = world.scheduler.now + world.draw.choice((10.0, 100.0, 400.0))
            self._end_idle(process, driver)
            self._check_alive(process)
        if world.happens("late", rates.late):
            world.scheduler.sleep(world.draw.uniform(0.1, 20.0))
            self._check_alive(process)
        elif world.draw.random() < rates.turn:
            world.scheduler.sleep(0.001)
            self._check_alive(process)

    def _do_commit(self, connection: Any) -> None:
        world = self._world
        driver = getattr(connection, "driver_connection", connection)
        if not driver.in_transaction:
            return
        process = self._users[driver]
        self._check_alive(process)
        kind = None
        risky = world.writer is driver and not process.spared
        if risky and world.draw.random() < world.rates.commit:
            kind = world.draw.choice(("lost", "late", "unanswered", "crash before", "crash after"))
            world.count(f"commit {kind}")
        if kind == "crash before":
            self._die(process)
        if kind == "lost":
            self._do_rollback(connection)
            raise _BrokenConnectionError("connection lost before the commit")
        if kind == "late":
            self._on_their_way.add(driver)
            delay = world.draw.choice((0.05, 1.0, 30.0))
            world.scheduler.spawn(lambda: self._commit_late(driver), delay)
            raise _BrokenConnectionError("connection lost in the commit")
        self._finish(driver)
        if kind == "unanswered":
            raise _BrokenConnectionError("connection lost after the commit")
        if kind == "crash after":
            self._die(process)

    def _finish(self, driver: Any) -> None:
        driver.commit()
        if self._world.writer is driver:
            self._world.writer = None
            self._world.transactions += 1

    def _commit_late(self, driver: Any) -> None:
        self._finish(driver)
        self._on_their_way.remove(driver)
        driver.close()

    def _do_rollback(self, connection: Any) -> None:
        driver = getattr(connection, "driver_connection", connection)
        if driver in self._on_their_way:
            return
        self._rollback(connection)
        if self._world.writer is driver:
            self._world.writer = None

    def _do_close(self, connection: Any) -> None:
        if connection in self._on_their_way:
            return
        if self._world.writer is connection:
            self._world.writer = None
        self._users.pop(connection, None)
        self._close(connection)

    def _check_alive(self, process: Process) -> None:
        while process.alive and process.halted_until > self._world.scheduler.now:
            self._world.scheduler.sleep(process.halted_until - self._world.scheduler.now)
        if not process.alive:
            raise PowerCutError

    def _end_idle(self, process: Process, driver: Any) -> None:
        """End a write transaction whose worker stands still, as a server does after 30 s."""
        world = self._world
        if world.writer is not driver or process.halted_until - world.scheduler.now < IDLE_LIMIT:
            return
        world.scheduler.sleep(IDLE_LIMIT)
        self._do_rollback(driver)
        self._check_alive(process)
        raise _BrokenConnectionError("terminating connection due to idle-in-transaction timeout")

    def _die(self, process: Process) -> None:
        process.alive = False
        raise PowerCutError


def _keep_pool(context: Any) -> None:
    """Let one broken connection say nothing of the others, which are those of other processes."""
    context.invalidate_pool_on_disconnect = False


class _BrokenConnectionError(sqlite3.OperationalError):
    """As of a network: it has no code of SQLite's."""


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    error.sqlite_errorname = "SQLITE_FULL"
    return error
