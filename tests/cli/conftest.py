"""The command line run in this process, and a study that it has searched to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Ended:
    """How one command ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Run the command line in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INDIAN_TUNE_STORAGE", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["indian-tune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_toml: str
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A tiny study searched to its end by the real program, and what that printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "indian_tune", "search", "tiny.toml", "--engine", "inline"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100"},
    )
    return folder / "indian-tune.db", done


@pytest.fixture
def search(
    command: Callable[..., Ended], storage: str, write_study: Callable[[dict[str, Any]], Path]
) -> Callable[..., tuple[int, str, str]]:
    """Search a study in this process; return status, standard output and standard error."""

    def run(study: dict[str, Any], *options: object) -> tuple[int, str, str]:
        file = write_study(study)
        ended = command("search", file, "--storage", storage, "--engine", "inline", *options)
        return ended.status, ended.out, ended.err

    return run
