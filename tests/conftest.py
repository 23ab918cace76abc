"""What most tests need: a study small enough to train in a second, and a database for it."""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic.util import pyfiles as alembic_files
from sqlalchemy.engine import make_url

from indian_tune.cli import main
from indian_tune.ledger.outage import OUTAGE
from indian_tune.training import EpochRecord
from indian_tune.training.metrics import OPEN, SEALED, metric_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

ROOT = Path(__file__).parents[1]

TINY: dict[str, Any] = {
    "name": "tiny",
    "problem": {
        "dataset": "digits",
        "model": "nin-small",
        "width": 0.2,
        "batch_size": 128,
        "validation_fraction": 0.25,
    },
    "protocol": {"epochs": 2, "tune_epochs": 2, "tune_seeds": 1, "confirm_seeds": [1000, 1001]},
    "search": {"trials": 2, "sampler": "random", "seed": 7},
    "arms": [
        {"name": "indian", "optimizer": "indian"},
        {"name": "sgd", "optimizer": "sgd"},
    ],
}


def pytest_configure() -> None:
    # A shell starts what runs in the background with SIGINT ignored, which every program that the
    # tests start would inherit; several are to be stopped by Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Optuna reads all its migrations whenever it opens a database, and so do we for a new one.
    # A process of a user does so once, one of the tests a thousand times.
    load = alembic_files.load_module_py

    @functools.cache
    def once(module_id: str, path: Path) -> ModuleType:
        return load(module_id, path)

    def load_module(module_id: str, path: str | os.PathLike[str]) -> ModuleType:
        # What migrates stands in env.py, which is run by being loaded.
        return load(module_id, path) if module_id == "env_py" else once(module_id, Path(path))

    alembic_files.load_module_py = load_module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that may take longest, so that nobody waits for one at the end."""
    longest: dict[Path, float] = {}
    for item in items:
        limit = item.get_closest_marker("timeout")
        seconds = 0.0 if limit is None else float(limit.args[0])
        longest[item.path] = max(seconds, longest.get(item.path, 0.0))
    items.sort(key=lambda item: -longest[item.path])


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """Keep what a test sets from the next one: commands and keepers choose what is logged."""
    logger = logging.getLogger("indian_tune")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def _outage() -> Iterator[None]:
    """Let a test that ends while its database is away not have the next one say that it is back."""
    yield
    OUTAGE._since = None


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A study of two arms, two trials each, on digits, as a study file would say it."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def tiny_toml() -> str:
    """The same study as the text of its file."""
    return to_toml(TINY)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """Address of a database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'study.db'}"


def measured(epoch: int, *values: float, seconds: float = 0.1) -> EpochRecord:
    """Return what a training might have measured after an epoch.

    Args:
        epoch: counted from 1.
        values: losses and accuracies on training, validation and test data; 0.5 if left out.
        seconds: wall time.
    """
    names = [*metric_names(OPEN), *metric_names(SEALED)]
    named = dict(zip(names, values or [0.5] * len(names), strict=True))
    sealed = {name: named.pop(name) for name in metric_names(SEALED)}
    return EpochRecord(epoch=epoch, step=epoch, metrics=named, sealed=sealed, seconds=seconds)


def run_command(folder: Path, *arguments: str) -> None:
    """Run a command in this process, in a folder, for what several tests then look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["indian-tune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code


class PostgresServer:
    """A private PostgreSQL server on a socket in a folder of its own; nothing else can reach it.

    Args:
        programs: folder of ``initdb`` and ``pg_ctl``.
        folder: short enough for the path of a socket; belongs to the server's user.
        settings: of the server; for tests by default, whose data need not outlive a power cut.
    """

    def __init__(
        self, programs: Path, folder: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self._programs = programs
        self._settings = settings or {"fsync": "off", "max_connections": "200"}
        self._folder = folder
        # The server refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "--auth=trust", "--username=tester", "--no-sync", "--encoding=UTF8")

    def admit(self, network: str) -> None:
        """Let a network in; to be called before the start."""
        with (self._folder / "data" / "pg_hba.conf").open("a") as admitted:
            admitted.write(f"host all all {network} trust\n")

    def start(self) -> None:
        settings = {"listen_addresses": "", **self._settings}
        given = " ".join(f"-c {name}={value}" for name, value in settings.items())
        options = f"-k {self._folder} {given}"
        self._run("pg_ctl", "start", "--wait", f"--log={self._folder / 'log'}", "-o", options)

    def stop(self) -> None:
        """Stop as a power cut does: connections break in the middle of whatever they do."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    @contextlib.contextmanager
    def down(self, seconds: float) -> Iterator[None]:
        """Be stopped when the block begins, and up again that many seconds later."""
        self.stop()
        back = threading.Timer(seconds, self.start)
        back.start()
        try:
            yield
        finally:
            back.join()

    def new_database(self) -> str:
        """Make an empty database; return its address."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._address(name).replace("postgresql://", "postgresql+psycopg://")

    def processor_seconds(self) -> float:
        """Return what the server's processes have used so far, those of closed connections too."""
        main = (self._folder / "data" / "postmaster.pid").read_text().splitlines()[0]
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        ticks = 0
        for pid in (main, *children):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                # Time of its own; for the server's first process also that of children that ended.
                ticks += sum(map(int, fields[11:15] if pid == main else fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def run_client(self, program: str, database: str, *arguments: str) -> str:
        """Run one of PostgreSQL's client programs on a database; return what it printed.

        Args:
            program: such as ``psql``.
            database: address from ``new_database``.
            *arguments: of the program.
        """
        done = subprocess.run(
            [self._programs / program, *arguments],
            env={
                **os.environ,
                "PGHOST": str(self._folder),
                "PGUSER": "tester",
                "PGDATABASE": str(make_url(database).database),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def demand_password(self, role: str) -> None:
        """Let a role in with its password alone, as a server does that others can reach."""
        rules = self._folder / "data/pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n" + rules.read_text())
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute("SELECT pg_reload_conf()")

    def _address(self, database: str) -> str:
        return f"postgresql://tester@/{database}?host={self._folder}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, "-D", self._folder / "data", *arguments],
            user=self._user,
            extra_groups=[] if self._user else None,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            # The server keeps what it inherits open for as long as it runs.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        log = self._folder / "log"
        detail = log.read_text() if log.exists() else ""
        assert done.returncode == 0, f"{program} ended with {done.returncode}: {detail[-2000:]}"


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's newest server programs, ``None`` where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return None if on_path is None else Path(on_path).resolve().parent


def _roomy() -> str:
    """Return a folder for a server's thousands of small files: in memory, where there is room."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30
    return str(memory) if roomy else "/tmp"


@contextlib.contextmanager
def postgres_server(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Make a PostgreSQL server, to be started; skip the test where none can run."""
    programs = postgres_programs()
    if programs is None:
        reason = "PostgreSQL's server programs are missing: install the package postgresql"
        # Where the tests judge a change, nothing that can be installed may be left out.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-", dir=_roomy())))
        server = PostgresServer(programs, folder, settings)
        stack.callback(server.stop)
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server, shared by the tests of one process."""
    with postgres_server() as server:
        server.start()
        yield server


def _empty_database(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        return f"sqlite:///{folder / 'study.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> str:
    """Address of an empty database, once on SQLite and once on PostgreSQL."""
    return _empty_database(request)


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=[pytest.mark.postgres, pytest.mark.slow]),
    ]
)
def usual_database(request: pytest.FixtureRequest) -> str:
    """The same, for what asks nothing new of the server: on PostgreSQL with the slow tests."""
    return _empty_database(request)


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a study file from plain data; return its path."""

    def write(study: dict[str, Any]) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(to_toml(study), encoding="utf-8")
        return path

    return write


@pytest.fixture
def short_quickstart(write_study: Callable[[dict[str, Any]], Path]) -> Path:
    """The quickstart cut down to two short trials an arm, for what tests where it runs."""
    study = tomllib.loads((ROOT / "studies/quickstart.toml").read_text(encoding="utf-8"))
    study["protocol"] |= {"epochs": 2, "tune_epochs": 2, "confirm_seeds": 1, "finalists": 0}
    study["search"]["trials"] = 2
    return write_study(study)


def to_toml(study: dict[str, Any]) -> str:
    """Return plain data as TOML, as far as study files need it."""
    top = [f"{key} = {_value(value)}" for key, value in study.items() if _is_plain(value)]
    parts = ["\n".join(top)]
    for key, value in study.items():
        if isinstance(value, dict):
            parts.append("\n".join([f"[{key}]", *_pairs(value)]))
        elif isinstance(value, list) and not _is_plain(value):
            parts += ["\n".join([f"[[{key}]]", *_pairs(part)]) for part in value]
    return "\n\n".join(parts) + "\n"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return not value or not all(isinstance(part, dict) for part in value)
    return not isinstance(value, dict)


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(_pairs(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
