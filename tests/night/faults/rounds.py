"""One round: a small search, a few faults drawn by a seed, and the checks after every command."""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import sqlalchemy as sa

from tests.night.faults import checks, study
from tests.night.faults.kinds import KINDS, Target, kinds_for, processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import PostgresServer
    from tests.night.faults.checks import Record
    from tests.relay import Relay

TICK_SECONDS = 0.05
# Far above what a busy machine needs for a search of seconds, and twice as long as a database is
# waited for; what a fault lasts is added.
COMMAND_SECONDS = 300.0
# How long a process may outlive the command that started it.
ORPHAN_SECONDS = 60.0
TWICE_SECONDS = 10.0
# How often a search is gone on with after the last fault.
COMMANDS = 8
# Defaults of half a minute would make long rounds; what stands in the address goes before them.
IMPATIENT = {"tcp_user_timeout": "4000", "connect_timeout": "2"}


@dataclass(frozen=True)
class Fault:
    """A fault that is planned.

    Attributes:
        kind: its name in ``KINDS``.
        after: epochs that must be recorded before, or seconds that the command must have run.
        by_epochs: which of both.
        lasts: seconds until it is undone.
    """

    kind: str
    after: float
    by_epochs: bool
    lasts: float


@dataclass(frozen=True)
class Plan:
    """What a round does; a function of its seed.

    Attributes:
        seed: and ``number``: of the round.
        shape: of the study.
        engine: that searches.
        database: ``sqlite`` or ``postgresql``.
        workers: processes that train.
        lease: seconds that a claim lasts.
        step: seconds that a training step takes.
        faults: in turn.
    """

    seed: int
    number: int
    shape: str
    engine: str
    database: str
    workers: int
    lease: float
    step: float
    faults: tuple[Fault, ...]

    @classmethod
    def draw(cls, seed: int, number: int, *, postgresql: bool) -> Plan:
        """Draw the plan of a round.

        Args:
            seed: of the attack.
            number: of the round.
            postgresql: whether there is a server.
        """
        choose = random.Random(f"{seed}/{number}")
        shape = choose.choice(sorted(study.shapes()))
        engine = choose.choices(["optuna", "inline", "ray"], [60, 30, 10])[0]
        database = choose.choice(["sqlite", "postgresql"])
        if not postgresql:
            database = "sqlite"
        kinds = kinds_for(engine, database)
        faults = []
        for _ in range(choose.randint(1, 4)):
            by_epochs = choose.random() < 0.7
            faults.append(
                Fault(
                    kind=choose.choice(kinds),
                    after=choose.randint(1, 50) if by_epochs else round(choose.uniform(0, 8), 2),
                    by_epochs=by_epochs,
                    lasts=round(choose.choice([choose.uniform(0.2, 3), choose.uniform(3, 15)]), 2),
                )
            )
        return cls(
            seed=seed,
            number=number,
            shape=shape,
            engine=engine,
            database=database,
            workers=choose.randint(1, 3) if engine == "optuna" else 2,
            lease=choose.choice([3.0, 60.0]),
            step=choose.choice([0.005, 0.03]),
            faults=tuple(faults),
        )

    def __str__(self) -> str:
        faults = ", ".join(fault.kind for fault in self.faults)
        return (
            f"round {self.number} of seed {self.seed}: {self.shape} on {self.database} with "
            f"{self.engine}, {self.workers} workers, leases of {self.lease:g} s: {faults}"
        )


@dataclass
class Outcome:
    """What came of a round.

    Attributes:
        plan: of the round.
        injected: kinds of the faults that were done.
        commands: that it took.
        seconds: that it took.
        violations: what did not hold; empty if all is well.
    """

    plan: Plan
    injected: list[str] = field(default_factory=list)
    commands: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


class Round:
    """Runs one plan in a folder of its own.

    Args:
        plan: what to do.
        folder: empty; keeps everything that is needed to look into a violation.
        server: and ``relay``, before it: of PostgreSQL.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        server: PostgresServer | None = None,
        relay: Relay | None = None,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._server = server
        self._relay = relay
        self._choose = random.Random(f"{plan.seed}/{plan.number}/targets")
        self._outcome = Outcome(plan)
        self._left = list(plan.faults)
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._lasting = 0.0
        self._deadly = self._stops = self._learned_otherwise = False
        self._attempts = 0
        self._last_kill: float | None = None
        self._before: Record = checks.Record({}, {})
        file = study.write(folder, plan.shape)
        (folder / "plan.json").write_text(json.dumps(asdict(plan), indent=1))
        self._direct = self._address = f"sqlite:///{folder / 'study.db'}"
        if plan.database == "postgresql":
            assert server is not None
            assert relay is not None
            self._direct = server.new_database()
            url = relay.through(self._direct, **IMPATIENT)
            self._address = url.render_as_string(hide_password=False)
        self._search = [
            *("search", str(file), "--engine", plan.engine, "--allow-import"),
            *("--storage", self._address, "--artifacts", str(folder / "artifacts")),
        ]
        if plan.engine != "inline":
            self._search += ["--workers", str(plan.workers)]
        self._environment = study.environment(folder, step=plan.step, lease=plan.lease)

    def run(self) -> Outcome:
        """Search, with faults, until the study is finished, and check."""
        reference = study.undisturbed(self._plan.shape)
        start = time.monotonic()
        self._engine = sa.create_engine(self._direct, poolclass=sa.NullPool)
        try:
            arguments = self._search
            while self._outcome.commands < COMMANDS:
                status, log = self._command(arguments)
                self._wait_for_undo()
                record = checks.read(self._direct, self._plan.shape)
                self._check(status, log, record, reference)
                if self._outcome.violations or (status == 0 and record.finished):
                    break
                arguments = self._next(status, log)
            else:
                self._outcome.violations.append(f"not finished after {COMMANDS} commands")
            self._check_orphans()
            if not self._outcome.violations:
                self._outcome.violations += checks.wrong_end(
                    self._direct, self._plan.shape, reference, alike=not self._learned_otherwise
                )
        finally:
            self._undo_all()
            for process in list(processes(self._folder)):
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._engine.dispose()
        self._outcome.seconds = time.monotonic() - start
        if self._outcome.violations:
            (self._folder / "violations.txt").write_text("\n".join(self._outcome.violations) + "\n")
        return self._outcome

    def _command(self, arguments: list[str]) -> tuple[int, str]:
        """Run one command to its end, with the faults that come while it runs."""
        number = self._outcome.commands = self._outcome.commands + 1
        log = self._folder / f"command-{number}.log"
        self._stops = False
        self._lasting = 0.0
        asked_twice: float | None = None
        with (
            log.open("wb") as stderr,
            log.with_suffix(".out").open("wb") as stdout,
            subprocess.Popen(
                [sys.executable, "command.py", *arguments],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            ) as driver,
        ):
            target = Target(
                self._folder, driver, self._choose, self._direct, self._server, self._relay
            )
            start = time.monotonic()
            while driver.poll() is None:
                time.sleep(TICK_SECONDS)
                now = time.monotonic()
                self._undo_due(now)
                if self._left and self._is_due(self._left[0], now - start):
                    fault = self._left.pop(0)
                    self._inject(fault, target)
                    if fault.kind == "int-twice":
                        asked_twice = time.monotonic()
                if now - start > COMMAND_SECONDS + self._lasting:
                    self._note(f"command {number} has not ended after {now - start:.0f} s")
                    self._dump(target)
                    driver.kill()
            ended = time.monotonic()
        if asked_twice is not None and ended - asked_twice > TWICE_SECONDS + self._lasting:
            self._note(f"asked twice, it took {ended - asked_twice:.1f} s to end")
        if driver.returncode < 0:
            self._last_kill = ended
        return driver.returncode, log.read_text(errors="replace")

    def _is_due(self, fault: Fault, seconds: float) -> bool:
        if fault.by_epochs:
            return checks.epochs_recorded(self._engine) >= fault.after
        return seconds >= fault.after

    def _inject(self, fault: Fault, target: Target) -> None:
        kind = KINDS[fault.kind]
        done = kind.do(target)
        if done is False:
            return
        self._outcome.injected.append(fault.kind)
        self._stops |= kind.stops
        self._attempts += kind.deadly
        if callable(done):
            self._undo.append((time.monotonic() + fault.lasts, done))
            self._lasting += fault.lasts

    def _undo_due(self, now: float) -> None:
        due = [undo for undo in self._undo if undo[0] <= now]
        self._undo = [undo for undo in self._undo if undo[0] > now]
        for _, undo in due:
            undo()

    def _wait_for_undo(self) -> None:
        while self._undo:
            time.sleep(TICK_SECONDS)
            self._undo_due(time.monotonic())

    def _undo_all(self) -> None:
        self._undo_due(float("inf"))

    def _check(self, status: int, log: str, record: Record, reference: Record) -> None:
        """Check what holds after every command, however it ended."""
        number = self._outcome.commands
        wrong = []
        if record.failed:
            self._learned_otherwise |= self._plan.shape != "plain"
            if self._attempts < checks.ATTEMPTS:
                wrong.append(f"{record.failed} failed after {self._attempts} faults that can do so")
        alike = not self._learned_otherwise
        wrong += checks.wrong_epochs(record, self._before, reference, alike=alike)
        # A driver that is killed may leave workers that go on for a moment.
        killed = status < 0
        if not killed:
            wrong += checks.wrong_exit(status, record, log, stopped=self._stops)
        if record.trials and not killed:
            wrong += checks.wrong_status(self._status(), record)
        self._before = record
        for each in wrong:
            self._note(f"after command {number} (status {status}): {each}")

    def _status(self) -> dict[str, Any]:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "indian_tune", "status", self._plan.shape, "--json"),
                *("--storage", self._address),
            ],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            self._note(f"status ended with {done.returncode}: {done.stderr}")
            return {"finished": None, "failed": [], "arms": []}
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def _next(self, status: int, log: str) -> list[str]:
        """Return the command that continues: the printed one, if one was printed."""
        lines = [line.strip() for line in log.splitlines()]
        printed = [line for line in lines if line.startswith("indian-tune search")]
        if status > 0 and printed:
            retry = [line for line in printed if "--retry-failed" in line]
            return shlex.split((retry or printed)[-1])[1:]
        return self._search

    def _check_orphans(self) -> None:
        """Wait for what the commands have left behind, for a minute at most."""
        since = self._last_kill or time.monotonic()
        while left := list(processes(self._folder)):
            if time.monotonic() - since > ORPHAN_SECONDS:
                names = []
                for process in left:
                    with contextlib.suppress(psutil.Error):
                        names.append(" ".join(process.cmdline())[:120])
                if names:
                    self._note(f"left behind after a minute: {names}")
                return
            time.sleep(0.2)

    def _dump(self, target: Target) -> None:
        """Write where the processes of a command that does not end stand."""
        spy = shutil.which("py-spy")
        lines = []
        for process in target.processes():
            with contextlib.suppress(psutil.Error):
                lines.append(f"{process.pid} {process.status()} {' '.join(process.cmdline())}")
            if spy is not None:
                dump = subprocess.run(
                    [spy, "dump", "--pid", str(process.pid)],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                lines.append(dump.stdout)
        name = f"processes-{self._outcome.commands}.txt"
        (self._folder / name).write_text("\n".join(lines))

    def _note(self, violation: str) -> None:
        self._outcome.violations.append(violation)
