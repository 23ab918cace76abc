"""The database of the containers: its tables, the role of the dashboard, its copies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import PostgresServer

pytestmark = pytest.mark.postgres

DOCKER = Path(__file__).parents[2] / "docker"
PASSWORD = "pass:word\\with 'quotes' and $(date)"


def tune(*arguments: object, home: Path, password: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program as a container does: by its entrypoint, with a password in a file."""
    return subprocess.run(
        [DOCKER / "entrypoint.sh", sys.executable, "-m", "indian_tune", *map(str, arguments)],
        env=environment(home, password),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def environment(home: Path, password: str) -> dict[str, str]:
    secret = home / "password"
    secret.unlink(missing_ok=True)
    secret.write_text(password + "\n", encoding="utf-8")
    secret.chmod(0o444)
    return {**os.environ, "HOME": str(home), "PGPASSWORD_FILE": str(secret)}


@contextmanager
def dashboard(address: str, home: Path) -> Iterator[Callable[[str], Any]]:
    """The dashboard as the container starts it; ask it for a path and get its JSON."""
    with subprocess.Popen(
        [
            *(DOCKER / "entrypoint.sh", sys.executable, "-m", "indian_tune", "dashboard"),
            *("--storage", address, "--host", "0.0.0.0", "--port", "0"),
            *("--allowed-host", "localhost", "--allowed-host", "127.0.0.1"),
        ],
        env=environment(home, PASSWORD),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            port = program.stdout.readline().partition("0.0.0.0:")[2].partition("/")[0]

            def ask(path: str) -> Any:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
                    return json.load(answer)

            yield ask
        finally:
            program.terminate()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a container's user."""
    home = tmp_path_factory.mktemp("home")
    (home / "dashboard_password").write_text(PASSWORD + "\n", encoding="utf-8")
    return home


def make_database(postgres: PostgresServer, home: Path) -> str:
    """Make a database as the containers do; return its address for its owner."""
    address = postgres.new_database()
    made = tune("doctor", "--create", "--storage", address, home=home)
    assert made.returncode == 0, made.stderr
    assert "contains no study" in made.stdout
    # At every start, so it must do no harm the second time.
    for _ in range(2):
        make_role(postgres, address, home)
    return address


@pytest.fixture(scope="module")
def owner(postgres: PostgresServer, home: Path) -> str:
    return make_database(postgres, home)


def make_role(postgres: PostgresServer, address: str, home: Path) -> None:
    postgres.run_client(
        "psql",
        address,
        "--set=ON_ERROR_STOP=1",
        f"--set=password_file={home / 'dashboard_password'}",
        f"--file={DOCKER / 'database/dashboard-role.sql'}",
    )


@pytest.fixture(scope="module")
def reader(postgres: PostgresServer, owner: str) -> str:
    """Address of the same database for the dashboard, which must show its password."""
    postgres.demand_password("dashboard")
    return owner.replace("tester@", "dashboard@")


@pytest.mark.slow
def test_the_dashboard_shows_all_with_a_role_that_may_only_read(
    owner: str, reader: str, home: Path, tiny_toml: str
) -> None:
    study = home / "tiny.toml"
    study.write_text(tiny_toml, encoding="utf-8")
    with dashboard(reader, home) as ask:
        assert ask("/api/studies")["study_summaries"] == []
        done = tune("search", study, "--engine", "inline", "--storage", owner, home=home)
        assert done.returncode == 0, done.stderr
        listed = ask("/api/studies")["study_summaries"]
        assert [each["study_name"] for each in listed] == [
            "tiny/indian",
            "tiny/sgd",
            "tiny/confirm",
        ]
        shown = ask(f"/api/studies/{listed[0]['study_id']}")
        assert len(shown["trials"]) == 2
        assert "2 of 2 trials finished" in shown["note"]["body"]
    status = tune("status", "--storage", reader, home=home, password=PASSWORD)
    assert status.returncode == 0, status.stderr
    as_role = f"{make_url(reader).render_as_string().replace('+psycopg', '')}"
    with psycopg.connect(as_role, password=PASSWORD, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM ledger_trial").fetchone() == (8,)
        for table in ("ledger_sealed_epoch", "ledger_sealed_example"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT * FROM {table}")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM studies")
        # What the role asks for itself helps it no further.
        connection.execute("SET default_transaction_read_only = off")
        for statement in ("DELETE FROM studies", "UPDATE ledger_trial SET value = 0"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_work_under_the_role_is_refused_with_one_message(reader: str, home: Path) -> None:
    search = ("search", "quickstart", "--engine", "inline", "--storage", reader)
    ended = tune(*search, home=home, password=PASSWORD)
    assert ended.returncode == 1
    assert "read-only transaction" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_wrong_password_is_refused_and_no_password_is_printed(reader: str, home: Path) -> None:
    ended = tune("status", "--storage", reader, home=home, password="not this one")
    assert ended.returncode == 2
    assert "password authentication failed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "not this one" not in ended.stdout + ended.stderr


@pytest.mark.slow
def test_a_backup_comes_back_whole_and_the_role_with_it(
    postgres: PostgresServer, home: Path, tiny_toml: str
) -> None:
    owner = make_database(postgres, home)
    study = home / "tiny.toml"
    study.write_text(tiny_toml, encoding="utf-8")
    search = ("search", study, "--engine", "inline", "--json", "--storage")
    before = tune(*search, owner, home=home)
    assert before.returncode == 0, before.stderr
    backup = home / "backup.dump"
    postgres.run_client("pg_dump", owner, "--format=custom", f"--file={backup}")
    fresh = postgres.new_database()
    database = str(make_url(fresh).database)
    for _ in range(2):  # into an empty database, and over a full one
        postgres.run_client(
            "pg_restore",
            fresh,
            "--clean",
            "--if-exists",
            "--exit-on-error",
            "--single-transaction",
            f"--dbname={database}",
            str(backup),
        )
        make_role(postgres, fresh, home)
    after = tune(*search, fresh, home=home)
    assert after.returncode == 0, after.stderr
    # Nothing was left to train, so these are the numbers that were stored.
    assert json.loads(after.stdout)["arms"] == json.loads(before.stdout)["arms"]
    assert tune("doctor", "--storage", fresh, home=home).stdout.count("nothing to repair") == 1
    with dashboard(fresh.replace("tester@", "dashboard@"), home) as ask:
        assert len(ask("/api/studies")["study_summaries"]) == 3
