"""No password of a database is shown, by no command, at the highest verbosity, in no error."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended
    from tests.conftest import PostgresServer

# A character that an address must escape: it may be shown escaped or not.
PASSWORD = "geheim/42"
SHOWN = ("geheim/42", "geheim%2F42", "geheim")

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(postgres: PostgresServer) -> str:
    """Address, with its password, of an empty database whose server demands the password."""
    owned = make_url(postgres.new_database())
    role = f"role_{secrets.token_hex(4)}"
    admin = owned.set(drivername="postgresql").render_as_string()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'".encode())
        connection.execute(f"GRANT ALL ON SCHEMA public TO {role}".encode())
    postgres.demand_password(role)
    return owned.set(username=role, password=PASSWORD).render_as_string(hide_password=False)


def assert_silent(text: str) -> None:
    shown = [line for line in text.splitlines() if any(secret in line for secret in SHOWN)]
    assert not shown


COMMANDS = [
    ("search", "tiny.toml", "--engine", "inline"),
    ("search", "tiny.toml", "--engine", "inline"),
    ("plan", "tiny.toml"),
    ("worker", "tiny"),
    ("status", "tiny"),
    ("status", "tiny", "--json"),
    ("show", "tiny"),
    ("show", "tiny", "--best"),
    ("show", "tiny", "indian/0"),
    ("analyze", "tiny", "--out", "report"),
    ("compare", "tiny", "--a", "indian", "--b", "sgd"),
    ("studies",),
    ("doctor",),
    ("doctor", "--json"),
    ("export", "tiny", "--format", "json"),
    ("export", "tiny", "--format", "tensorboard", "--out", "events"),
    ("export", "tiny", "--optuna", "optuna.db"),
    # What cannot be done: the reasons name the database.
    ("status", "missing"),
    ("show", "tiny", "missing"),
    ("analyze", "missing"),
    ("export", "missing", "--format", "csv"),
    ("worker", "missing"),
]


def test_no_command_shows_a_password(
    command: Callable[..., Ended], address: str, tmp_path: Path, tiny_toml: str
) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    for words in COMMANDS:
        storage = () if words[0] == "plan" else ("--storage", address)
        ended = command("-vv", *words, *storage)
        expected = {"missing"}.isdisjoint(words)
        assert (ended.status == 0) == expected, (words, ended.out, ended.err)
        assert_silent(ended.out + ended.err)
    wrong = make_url(address).set(password=PASSWORD + "x").render_as_string(hide_password=False)
    for words in (("status", "tiny"), ("search", "tiny.toml", "--engine", "inline"), ("doctor",)):
        ended = command("-vv", *words, "--storage", wrong)
        assert ended.status != 0
        assert "password" in ended.out + ended.err, "the server's reason is not passed on"
        assert_silent(ended.out + ended.err)
    # Reports, exports and checkpoints that were written meanwhile.
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert not any(secret.encode() in file.read_bytes() for secret in SHOWN), file


def test_a_search_that_is_interrupted_shows_no_password(
    address: str, tmp_path: Path, tiny_toml: str
) -> None:
    # Far from its end when it is interrupted, however fast the machine.
    longer = tiny_toml.replace('name = "tiny"', 'name = "longer"').replace(
        "epochs = 2", "epochs = 500"
    )
    (tmp_path / "longer.toml").write_text(longer, encoding="utf-8")
    program = (sys.executable, "-m", "indian_tune")
    with subprocess.Popen(
        [*program, "-vv", "search", "longer.toml", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "INDIAN_TUNE_STORAGE": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as search:
        status = (*program, "status", "longer", "--json", "--storage", address)
        deadline = time.monotonic() + 120
        children: list[psutil.Process] = []
        while search.poll() is None and time.monotonic() < deadline:
            children = psutil.Process(search.pid).children(recursive=True)
            told = subprocess.run(status, capture_output=True, text=True, check=False).stdout
            if '"running"' in told and len(children) >= 2:
                break
        lines = [" ".join(child.cmdline()) for child in children]
        os.killpg(search.pid, signal.SIGINT)
        out = search.communicate(timeout=60)[0]
    assert search.returncode == 130, out
    assert "indian-tune search longer.toml" in out
    again = subprocess.run(
        [*program, "-vv", "analyze", "longer", "--storage", address],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    # The whole address was in the environment, and the command that goes on names the database.
    assert "indian-tune search " in again.stderr
    assert "(the password is not shown: put it into ~/.pgpass" in again.stderr
    assert_silent("\n".join([out, *lines, again.stdout, again.stderr]))
