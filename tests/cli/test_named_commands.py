"""What messages, helps and docstrings tell people to run exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.command_line import COMMANDS, OPTIONS, wrong_words

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[2] / "indian_tune"
# Calls of other programs, which have options of their own.
OTHERS = re.compile(r"\b(?:pip install|tensorboard|ray start|pg_dump|nvidia-smi)\b[^,;)`\n]*")
# Not where it is the program itself that is spoken of.
CALL = re.compile(r"\bindian-tune (?!that |reads )(?=[a-z-])([^`\n]+)")
TOP = "|".join(name.split()[1] for name in COMMANDS if name.count(" ") == 1)
SHORT_CALL = re.compile(rf"`((?:{TOP}) [^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def texts(path: Path) -> Iterator[str]:
    """Yield the strings of a module, with {} for a value."""
    inner: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inner.update(node.values)
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            yield node.value


def wrongly_named(text: str) -> list[str]:
    """Return the commands and options that a text names and that do not exist."""
    text = OTHERS.sub("", text)
    calls = CALL.findall(text) + SHORT_CALL.findall(text)
    known = set().union(*OPTIONS.values())
    # A word alone is an argument for another program.
    options = OPTION.findall(text) if " " in text else []
    return [
        *(found for call in calls for found in wrong_words(call)),
        *(option for option in options if option not in known),
    ]


def test_every_command_and_option_that_the_package_names_exists() -> None:
    named = [text for file in sorted(PACKAGE.rglob("*.py")) for text in texts(file)]
    assert sum(len(CALL.findall(text)) for text in named) > 20
    assert sum(len(OPTION.findall(text)) for text in named) > 100
    assert [(text, found) for text in named if (found := wrongly_named(text))] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("run `indian-tune serch STUDY` first", ["indian-tune serch"]),
        ("run `indian-tune export {} --sealed`", ["indian-tune export --sealed", "--sealed"]),
        ("ask `status --jsn` again", ["indian-tune status --jsn", "--jsn"]),
        ("`status --engine` has no engine", ["indian-tune status --engine"]),
        ("give the number of classes (--classes)", ["--classes"]),
        ("run `pip install --upgrade indian-tune`, or name another with --storage", []),
        ("this indian-tune reads version 3", []),
    ],
)
def test_a_command_or_option_that_does_not_exist_is_seen(text: str, found: list[str]) -> None:
    assert wrongly_named(text) == found
