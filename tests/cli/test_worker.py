"""`indian-tune worker` says what it does, and what it does not find."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

from tests.pins.conftest import PINS

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Let a worker of a process of its own work on the study."""
    return subprocess.run(
        [sys.executable, "-m", "indian_tune", "worker", "interrupted", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def work(folder: Path, *options: str) -> str:
    """Let a worker finish the study; return what it told."""
    done = run(folder, *options)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_worker_that_cannot_go_on_says_with_what_to_join_again(tmp_path: Path) -> None:
    with tarfile.open(PINS / "released-0003.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "file").touch()
    done = run(tmp_path, "--artifacts", "file/below")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Go on with:\n  indian-tune worker interrupted --artifacts file/below" in done.stderr


def test_a_worker_tells_what_it_does_and_that_checkpoints_are_missing(tmp_path: Path) -> None:
    with tarfile.open(PINS / "released-0003.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")

    told = work(tmp_path, "--artifacts", "elsewhere")
    assert "Working on interrupted with cpu" in told
    assert (
        "no checkpoint of sgd/0 found, it starts from the beginning (to train again: 4 epochs)"
    ) in told
    assert "adam/2: complete" in told
    assert "interrupted is finished: nothing is left to do." in told

    told = work(tmp_path)
    assert f"were written to {tmp_path / 'elsewhere'} before" in told
    assert "--artifacts names the folder" in told
    assert "Working on" not in told
    assert "interrupted is finished: nothing is left to do." in told
