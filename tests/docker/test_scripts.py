"""The Dockerfile and the shell scripts beside it, as linters and shells see them."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SCRIPTS = sorted(DOCKER.glob("*.sh"))


def test_the_dockerfile_has_nothing_for_its_linter_to_say() -> None:
    # It looks into the commands too, with ShellCheck's rules.
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, "--no-color", DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for name in line.split()[:-1]
    }
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_can_be_run_and_has_nothing_for_its_linter_to_say(script: Path) -> None:
    assert script.stat().st_mode & stat.S_IXUSR
    linter = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([linter, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("password", "entry"),
    [
        ("simple", "simple"),
        ("with:colon and\\backslash", "with\\:colon and\\\\backslash"),
        ("$HOME`id`'\"*&", "$HOME`id`'\"*&"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_entrypoint_gives_libpq_the_password_in_a_file_of_its_own(
    home: Path, tmp_path: Path, password: str, entry: str, end: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(password + end)
    secret.chmod(0o444)
    for _ in range(2):
        done = subprocess.run(
            [DOCKER / "entrypoint.sh", "sh", "-c", 'umask; echo "$1"', "sh", "a  b"],
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PGPASSWORD_FILE": str(secret)},
            capture_output=True,
            text=True,
            check=True,
        )
    made = home / ".pgpass"
    assert made.read_text().rstrip("\n") == f"*:*:*:*:{entry}"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert done.stdout.splitlines()[1] == "a  b"
    assert int(done.stdout.splitlines()[0], 8) != 0o077


def test_the_entrypoint_without_a_password_only_runs_the_command(home: Path) -> None:
    done = subprocess.run(
        [DOCKER / "entrypoint.sh", "sh", "-c", "exit 3"],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        check=False,
    )
    assert done.returncode == 3
    assert list(home.iterdir()) == []


def test_a_user_without_a_home_is_given_one(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("word")
    done = subprocess.run(
        [DOCKER / "entrypoint.sh", "sh", "-c", 'cat "$HOME/.pgpass"'],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nowhere",
            "TMPDIR": str(tmp_path),
            "PGPASSWORD_FILE": str(secret),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "*:*:*:*:word"


def test_the_first_start_makes_passwords_and_later_ones_keep_them(tmp_path: Path) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    shutil.copy(DOCKER / "up.sh", folder)
    programs = tmp_path / "bin"
    programs.mkdir()
    # Stands where Docker would, to tell what it was asked for.
    (programs / "docker").write_text('#!/bin/sh\necho "$PWD: $*"\n')
    (programs / "docker").chmod(0o755)
    found = []
    for _ in range(2):
        done = subprocess.run(
            [folder / "up.sh", "--scale", "ray-worker=3"],
            env={"PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == (f"{folder}: compose up --build --detach --scale ray-worker=3\n")
        found.append({path.name: path.read_text() for path in (folder / "secrets").iterdir()})
    assert found[0] == found[1]
    assert set(found[0]) == {"database_password", "dashboard_password", "ray_token"}
    assert len(set(found[0].values())) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in found[0].values())
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
