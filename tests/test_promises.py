"""The tests that the table of promises names are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PROMISES = {
    "Nothing lost",
    "Nothing doubled",
    "The same bits",
    "The seal",
    "Budgets",
    "It ends in time",
    "No password is shown",
    "No code from a stranger's file",
}


def promises(guide: str) -> dict[str, list[str]]:
    """Return the tests of each promise, as ``file::test`` or ``file::Class::test``."""
    table = guide.partition("\n## Promises\n")[2]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]+) \|$", table, re.MULTILINE)
    return {
        name.strip(): re.findall(r"`([^`]+)`", tests)
        for name, tests in rows
        if name.strip() != "promise" and not name.startswith("-")
    }


def exists(test: str, root: Path) -> bool:
    """Whether a test is where its name says, in a file below a folder."""
    file, *names = test.split("::")
    if not names or not (root / file).is_file():
        return False
    body: list[ast.stmt] = ast.parse((root / file).read_text(encoding="utf-8")).body
    for name in names[:-1]:
        body = [
            part
            for node in body
            if isinstance(node, ast.ClassDef) and node.name == name
            for part in node.body
        ]
    return names[-1].startswith("test_") and any(
        isinstance(node, ast.FunctionDef) and node.name == names[-1] for node in body
    )


def test_every_promise_names_tests_that_exist() -> None:
    named = promises((TESTS / "README.md").read_text(encoding="utf-8"))
    assert set(named) == PROMISES
    assert [name for name, tests in named.items() if len(tests) < 2] == []
    assert [test for tests in named.values() for test in tests if not exists(test, TESTS)] == []


def test_a_test_that_is_gone_is_seen(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text(
        "def test_here(): ...\ndef helper(): ...\nclass TestB:\n    def test_within(self): ...\n",
        encoding="utf-8",
    )
    for there in ("test_a.py::test_here", "test_a.py::TestB::test_within"):
        assert exists(there, tmp_path)
    for gone in (
        "test_a.py::test_gone",
        "test_a.py::helper",
        "test_a.py::test_within",
        "test_a.py::TestB::test_here",
        "test_a.py",
        "test_b.py::test_here",
    ):
        assert not exists(gone, tmp_path)
