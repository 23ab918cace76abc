"""The command that goes on is the command that was given."""

from __future__ import annotations

import inspect
import shlex
import shutil
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from indian_tune.cli.again import ONCE, command_line
from indian_tune.cli.search import search
from indian_tune.cli.worker import worker
from indian_tune.engines import note_start, open_session
from indian_tune.ledger import storage_url
from indian_tune.service.command import other_command, without_password
from indian_tune.study.completion import search_command
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.cli.conftest import Ended

# What a text is given as, where not any text will do.
TEXTS = {"study": "my studies/a b.toml", "storage": "sqlite:///it's here.db", "as_name": "other"}


def parsed(function: Any, words: list[str]) -> dict[str, Any]:
    """What the command line makes of some words."""
    app = typer.Typer()
    app.command()(function)
    command = typer.main.get_command(app)
    return dict(command.make_context("test", words).params)


def sample(function: Any, parameter: Any) -> list[str]:
    """Words that give a parameter another value than it has by default."""
    if parameter.param_type_name == "argument":
        return [TEXTS["study"]]
    if parameter.is_flag:
        return [parameter.opts[0]]
    annotation = inspect.signature(function, eval_str=True).parameters[parameter.name].annotation
    value = annotation.__origin__
    if value == list[str] | None:
        return [parameter.opts[0], "a=1", parameter.opts[0], "b=some where"]
    if isinstance(value, type) and issubclass(value, Enum):
        return [parameter.opts[0], list(value)[-1].value]
    numbers = {int: "3", int | None: "3", float | None: "0.25"}
    return [parameter.opts[0], numbers.get(value) or TEXTS.get(parameter.name, "some where")]


@pytest.mark.parametrize("function", [search, worker])
def test_every_option_of_a_command_is_given_again(function: Any) -> None:
    app = typer.Typer()
    app.command()(function)
    parameters = [
        each
        for each in typer.main.get_command(app).params
        if each.name not in (*ONCE, "install_completion", "show_completion")
    ]
    words = [word for parameter in parameters for word in sample(function, parameter)]
    given = parsed(function, words)
    plain = parsed(function, [TEXTS["study"]])
    again = shlex.split(str(command_line(function, given)))
    assert again[:2] == ["indian-tune", function.__name__]
    assert parsed(function, again[2:]) == given
    for parameter in parameters[1:]:
        assert given[parameter.name] != plain[parameter.name], "every option was given"


def test_what_concerns_one_call_alone_is_not_given_again() -> None:
    given = parsed(search, ["a.toml", "--extend", "3", "--retry-failed", "--workers", "2"])
    assert str(command_line(search, given)) == "indian-tune search a.toml --workers 2"
    retry = command_line(search, given, retry_failed=True)
    assert str(retry) == "indian-tune search a.toml --retry-failed --workers 2"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql+psycopg://me:p/w:x@h/db", "postgresql+psycopg://me@h/db"),
        ("postgresql://h/db?user=me&password=abc&x=1", "postgresql://h/db?user=me&x=1"),
        ("postgresql://h/db?password=abc", "postgresql://h/db"),
        ("s3://key:secret@bucket/x", "s3://key@bucket/x"),
        ("postgresql://me:se@cret@h/db", "postgresql://me@h/db"),
        ("ray://host:10001", "ray://host:10001"),
        ("study.db?", "study.db?"),
    ],
)
def test_no_password_is_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown
    line = other_command("show", "tiny", storage=address).line
    assert shlex.join(["--storage", shown]) in line
    assert ("~/.pgpass" in line) == (address != shown)


@pytest.mark.slow
def test_the_recorded_command_goes_on_with_the_same_record_from_any_folder(
    command: Callable[..., Ended],
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    tiny: dict[str, Any],
) -> None:
    database, _ = finished
    copy = tmp_path / "copy of it.db"
    shutil.copy(database, copy)
    url = storage_url(f"sqlite:///{copy}")
    with open_session(parse_study(tiny, source="test"), url, None, extend_by=1):
        pass
    ended = command("analyze", "tiny", "--storage", copy)
    assert ended.status != 0
    words = shlex.split(ended.err.splitlines()[-1])
    assert words[:3] == ["indian-tune", "search", str(database.parent / "tiny.toml")]
    given = parsed(search, words[2:])
    assert given["storage"] == f"sqlite:///{copy}"
    assert Path(given["artifacts"]) == database.parent / "indian-tune-artifacts"
    assert given["engine"] == "inline"


def test_a_recorded_command_names_the_database_that_is_open_and_no_other(
    tmp_path: Path, tiny: dict[str, Any]
) -> None:
    url = storage_url(f"sqlite:///{tmp_path / 'new.db'}")
    with open_session(parse_study(tiny, source="test"), url, None) as session:
        ledger, record = session.ledger, session.record
        assert search_command(ledger, record.id) is None
        note_start(ledger, record, tmp_path / "a", "indian-tune search x --storage old --workers 2")
        note_start(ledger, record, tmp_path / "b")
        found = search_command(ledger, record.id)
    assert found == (
        f"indian-tune search x --workers 2 --storage sqlite:///{tmp_path / 'new.db'} "
        f"--artifacts {tmp_path / 'b'}"
    )
