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


def test_the_first_start_makes_settings_and_passwords_and_later_ones_keep_them(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    shutil.copy(DOCKER / "up.sh", folder)
    programs = tmp_path / "bin"
    programs.mkdir()
    # In place of Docker, to tell what it was asked for; and a user that is not root.
    (programs / "docker").write_text('#!/bin/sh\necho "$PWD: $*"\n')
    (programs / "id").write_text('#!/bin/sh\n[ "$1" = -u ] && echo 1234 || echo 567\n')
    for name in ("docker", "id"):
        (programs / name).chmod(0o755)
    found = []
    for workers in ({"RAY_WORKERS": "3"}, {}, {"RAY_WORKERS": "5"}, {}):
        done = subprocess.run(
            [folder / "up.sh", "--wait"],
            env={"PATH": f"{programs}:{os.environ['PATH']}", **workers},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{folder}: compose up --build --detach --wait\n"
        settings = sorted((folder / ".env").read_text().splitlines())
        assert settings[:2] == ["INDIAN_TUNE_GID=567", "INDIAN_TUNE_UID=1234"]
        secrets = {path.name: path.read_text() for path in (folder / "secrets").iterdir()}
        found.append((settings[2:], secrets))
    assert [workers for workers, _ in found] == [[f"RAY_WORKERS={n}"] for n in (3, 3, 5, 5)]
    passwords = found[0][1]
    assert all(secrets == passwords for _, secrets in found)
    assert set(passwords) == {"database_password", "dashboard_password", "ray_token"}
    assert len(set(passwords.values())) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in passwords.values())
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    assert (folder / "studies").is_dir()


def test_containers_do_not_run_as_root_when_root_starts_them(tmp_path: Path) -> None:
    folder = tmp_path / "docker"
    folder.mkdir()
    shutil.copy(DOCKER / "up.sh", folder)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, says in {"docker": "", "id": "echo 0", "chown": 'echo "chown $*"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{says}\n")
        (programs / name).chmod(0o755)
    done = subprocess.run(
        [folder / "up.sh"],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "INDIAN_TUNE_UID=1000\nINDIAN_TUNE_GID=1000\n" in (folder / ".env").read_text()
    assert done.stdout == "chown 1000:1000 studies\n"
