"""Imports go down only, and in no circle: also those of annotations and within functions."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top down; what is not listed here is no part of the package.
LAYERS = (
    *("__main__", "cli", "service", "reproduce", "planning", "checkup", "export", "dashboard"),
    *("comparison", "engines", "analysis", "study", "ledger", "lightning", "training", "problems"),
    *("keras", "optax", "optim"),
    *("imports", "outcome", "errors", "columns", "commit", "lazy", "text", "used_code"),
    "_version",
)


# Of a module; a longer one is cut where a reader would look for a part by its name.
MOST_LINES = 450


@functools.cache
def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for path in (ROOT / "indian_tune").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def parsed(path: Path) -> list[ast.AST]:
    """Return every node of a module."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def imports() -> dict[str, set[str]]:
    """Return the modules of the package that each of them imports, wherever it does."""
    files = modules()
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        named = set()
        for node in parsed(path):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{path} imports relatively"
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {one if one in files else node.module for one in inner}
        graph[name] = {one for one in named if one in files} - {name}
    return graph


def layer(name: str) -> str:
    return name.split(".")[1]


def test_every_module_belongs_to_a_layer() -> None:
    inside = {layer(name) for name in modules() if "." in name}
    assert inside == set(LAYERS)


def test_every_module_can_be_read_at_once() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_imports_go_down_only() -> None:
    up = [
        f"{name} imports {imported}"
        for name, found in imports().items()
        for imported in found
        if "." in name and "." in imported
        if LAYERS.index(layer(imported)) < LAYERS.index(layer(name))
    ]
    assert up == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("package", ["engines", "planning", "study"])
def test_a_face_holds_what_it_names_and_no_module_takes_its_place(package: str) -> None:
    face = importlib.import_module(f"indian_tune.{package}")
    hidden = {name.rpartition(".")[2] for name in modules() if name.startswith(face.__name__ + ".")}
    assert not hidden & set(face.__all__)
    for name in face.__all__:
        assert getattr(face, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        _ = face.absent


def test_names_that_are_imported_late_are_completed() -> None:
    for package, path in modules().items():
        if path.name == "__init__.py" and "lazy_names(" in path.read_text(encoding="utf-8"):
            face = importlib.import_module(package)
            assert set(face.__all__) <= set(dir(face)), package


def test_every_face_is_sorted() -> None:
    for package, path in modules().items():
        if path.name != "__init__.py":
            continue
        # Read, not imported: a face of another framework needs an extra.
        names: list[str] = next(
            (
                ast.literal_eval(node.value)
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
            ),
            [],
        )
        constants = [name for name in names if name.isupper()]
        classes = [name for name in names if not name.isupper() and name[0].isupper()]
        others = [name for name in names if name not in (*constants, *classes)]
        assert names == [*sorted(constants), *sorted(classes), *sorted(others)], package


@pytest.mark.parametrize("package", ["engines"])
def test_other_packages_use_what_the_face_names(package: str) -> None:
    face = importlib.import_module(f"indian_tune.{package}")
    private = {
        f"{path.relative_to(ROOT)} imports {alias.name} from {node.module}"
        for name, path in modules().items()
        if "." in name and layer(name) != package
        for node in parsed(path)
        if isinstance(node, ast.ImportFrom) and node.module is not None
        if f"{node.module}.".startswith(f"{face.__name__}.")
        for alias in node.names
        if alias.name not in face.__all__
    }
    assert private == set(), "name it in the face, or do without it"


def test_faces_load_nothing_heavy() -> None:
    faces = ", ".join(f"indian_tune.{name}" for name in ("engines", "study"))
    heavy = ("torch", "ray", "pandas", "matplotlib")
    code = f"import sys, {faces}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
