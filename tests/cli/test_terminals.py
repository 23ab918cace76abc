"""Terminals and files as users have them: the output arrives, or one sentence says why not."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from indian_tune.ledger import Ledger, LedgerReader, sqlite_file, storage_url
from indian_tune.service.output import config_text, headed, results, table
from indian_tune.service.ranking import ranking_table
from indian_tune.study.ranking import rank

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended

NAMES = ["runs?seed=1.db", "runs%201.db", "100%25.db", "a#b.db", "a b.db", "a[/b].db"]


def test_a_terminal_without_a_size_gets_the_output(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert "quickstart" in command("studies").out


def test_foreign_text_is_shown_without_markup_and_escapes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = results()
    console.print("in a[/b] \x1b[31m")
    console.print(headed("[red]name", "\x1b]0;title\x07"))
    rows = table("column")
    rows.add_row("[bold]cell\x1b[2J")
    console.print(rows)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"in a[/b] \x1b[31m" in out
    assert r"[red]name\x1b]0;title\x07" in out
    assert r"[bold]cell\x1b[2J" in out


@pytest.mark.parametrize("width", [24, 60, 80, 200])
def test_no_terminal_is_too_narrow_for_the_numbers_of_the_ranking(
    width: int, finished: tuple[Path, object]
) -> None:
    with LedgerReader.open(str(finished[0])) as ledger:
        ranked = rank(ledger, ledger.study("tiny"))
    longer = [replace(result, name=f"{result.name}-of-a-long-name") for result in ranked]
    console = Console(file=StringIO(), width=width)
    console.print(ranking_table(longer))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, written.splitlines())) <= width
    words = set(written.replace(",", " ").split())
    for result in longer:
        assert result.tuned is not None
        assert result.tuned.validation_error is not None
        assert f"{100 * result.tuned.validation_error:.2f}" in words
        assert set(config_text(result.config).split()) <= words
    assert "±" not in written or "standard deviation" in " ".join(written.split())


def test_a_study_file_cannot_write_to_the_terminal(
    command: Callable[..., Ended], tmp_path: Path, tiny_toml: str
) -> None:
    hostile = r'"\u001b[31mRED" = 1'
    (tmp_path / "red.toml").write_text(f"{hostile}\n{tiny_toml}", encoding="utf-8")
    ended = command("search", "red.toml")
    assert ended.status == 2
    assert r"\x1b[31mRED is not a key of a study file" in ended.err
    assert "\x1b" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["red.toml"]


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_name_is_the_file_of_that_name(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    url = storage_url(name)
    assert sqlite_file(url) == tmp_path / name
    # Workers are given the address as a text.
    again = storage_url(url.render_as_string(hide_password=False))
    assert sqlite_file(again) == tmp_path / name


def test_a_database_stays_where_it_is_when_code_changes_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file(storage_url("sqlite:///here.db")) == tmp_path / "here.db"
    assert sqlite_file(storage_url("sqlite:///file:here.db?uri=true")) == Path("file:here.db")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "indian_tune", "studies"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=tmp_path,
        )
    assert ended.returncode == 1
    assert ended.stderr == "Error: the output cannot be written: No space left on device\n"


def test_a_deleted_folder_is_one_sentence(
    command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ended = command("status")
    assert ended.status == 2
    assert ended.err == "Error: the current folder has been deleted: change to another one\n"


@pytest.mark.parametrize(("loaded", "frozen"), [("torch", False), ("", True)])
def test_extensions_are_not_kept_from_being_freed_at_the_end(*, loaded: str, frozen: bool) -> None:
    lines = [
        "import atexit, gc, sys",
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))",
        f"sys.modules[{loaded!r}] = sys",
        "sys.argv[1:] = ['--version']",
        "from indian_tune.cli import main",
        "main()",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == str(frozen)


@pytest.fixture
def powerless() -> list[str]:
    """Words before a command that keep it from ignoring permissions, which root does."""
    if os.geteuid():
        return []
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("root ignores permissions, and setpriv, which changes that, is missing")
    return [program, "--bounding-set=-dac_override,-dac_read_search"]


def test_a_finished_database_is_read_where_nothing_can_be_written(
    finished: tuple[Path, object], tmp_path: Path, powerless: list[str]
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    file = archive / "kept?.db"
    with sqlite3.connect(finished[0]) as source, sqlite3.connect(file) as target:
        source.backup(target)
    target.close()
    source.close()
    for path, mode in ((file, 0o444), (archive, 0o555)):
        path.chmod(mode)
    out = tmp_path / "out"
    try:
        for words in (("status", "tiny"), ("export", "tiny", "--format", "csv", "--out", str(out))):
            program = (*powerless, sys.executable, "-m", "indian_tune", *words)
            command = (*program, "--storage", str(file))
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        assert len((out / "trials.csv").read_text().splitlines()) > 4
        command = (*powerless, sys.executable, "-m", "indian_tune", "analyze", "tiny")
        command = (*command, "--storage", str(file))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "or use a copy" in done.stderr
        archive.chmod(0o755)
        file.chmod(0o644)
        with Ledger.open(str(file), create=False) as ledger:
            ledger.unseal(ledger.study("tiny").id, by="test")
        sqlite3.connect(file).execute("PRAGMA journal_mode=DELETE").connection.close()
        for path, mode in ((file, 0o444), (archive, 0o555)):
            path.chmod(mode)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "tiny" in done.stdout
        assert [path.name for path in archive.iterdir()] == ["kept?.db"]
    finally:
        archive.chmod(0o755)


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_terminal_of_any_kind_gets_the_output(
    term: str, command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    ended = command("studies")
    assert "quickstart" in ended.out
    assert "\x1b" not in ended.out


def test_a_name_that_is_too_long_is_one_sentence(
    command: Callable[..., Ended], tmp_path: Path, tiny_toml: str
) -> None:
    long = "x" * 300
    (tmp_path / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    for words in (
        ("search", f"{long}.toml"),
        ("search", "tiny.toml", "--storage", f"{long}.db"),
        ("search", "tiny.toml", "--artifacts", long),
        ("status", long, "--storage", "none.db"),
        ("status", "tiny", "--storage", f"{long}.db"),
    ):
        ended = command(*words)
        assert ended.status == 2, words
        assert len(ended.err.strip().splitlines()) == 1, ended.err
        assert "Traceback" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]
