"""Every test checks something: it fails when the behaviour that it names breaks."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent
# What fails by itself when something is not as it should be.
CHECKS = {"raises", "warns", "fail", "wait_for", "run_state_machine_as_test"}

Functions = dict[str, list[ast.FunctionDef]]


def checks(node: ast.AST) -> bool:
    """Whether a part of a test can fail by itself."""
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    # A process that is run with check=True holds the assertions.
    checked = any(
        word.arg == "check" and isinstance(word.value, ast.Constant) and word.value.value
        for word in node.keywords
    )
    return checked or name in CHECKS or name.startswith("assert_")


def helpers(function: ast.FunctionDef) -> set[str]:
    """Return the names of the functions, fixtures and own methods that a function calls."""
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {func.id for func in calls if isinstance(func, ast.Name)} | {
        func.attr
        for func in calls
        if isinstance(func, ast.Attribute)
        and isinstance(func.value, ast.Name)
        and func.value.id == "self"
    }


def can_fail(function: ast.FunctionDef, functions: Functions, seen: frozenset[str]) -> bool:
    """Whether a function, or one that it calls, checks something."""
    return any(map(checks, ast.walk(function))) or any(
        can_fail(helper, functions, seen | {name})
        for name in helpers(function) - seen
        for helper in functions.get(name, ())
    )


def without_a_check(modules: dict[str, ast.Module]) -> list[str]:
    """Return the tests of some modules that cannot fail, as file::test."""
    found = [
        (file, node)
        for file, module in modules.items()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
    ]
    functions: Functions = {}
    for _, function in found:
        functions.setdefault(function.name, []).append(function)
    return [
        f"{file}::{function.name}"
        for file, function in found
        if function.name.startswith("test_") and not can_fail(function, functions, frozenset())
    ]


def test_every_test_can_fail() -> None:
    modules = {
        str(path.relative_to(TESTS)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(TESTS.rglob("*.py"))
    }
    assert without_a_check(modules) == []


def test_a_test_that_only_calls_is_found() -> None:
    code = """
def test_called(): start()
def test_asserted(): assert start()
def test_refused():
    with pytest.raises(ValueError): start()
def test_by_a_helper(): compare(1)
def test_in_a_process(): subprocess.run(["x"], check=True)
def test_in_a_process_that_may_fail(): subprocess.run(["x"], check=False)
def start(): again()
def again(): start()
def compare(x): assert x
"""
    assert without_a_check({"a.py": ast.parse(code)}) == [
        "a.py::test_called",
        "a.py::test_in_a_process_that_may_fail",
    ]
