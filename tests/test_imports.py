from __future__ import annotations

import os
import sys
from contextvars import copy_context
from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.errors import InputError
from indian_tune.imports import imports_allowed, in_hand, load_named, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GROUP = "indian_tune.problems"
KEY = "problem.factory"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose modules are forgotten afterwards."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mine_"):
            del sys.modules[name]


def load(reference: str, folder: Path) -> object:
    with imports_allowed([str(folder)]):
        return load_named(reference, key=KEY, group=GROUP)


def test_nothing_is_imported_without_permission(folder: Path) -> None:
    (folder / "mine_touch.py").write_text("import pathlib; pathlib.Path('touched').touch()\n")
    with pytest.raises(InputError, match=r"factory = 'mine_touch:x' names code.*--allow-import"):
        load_named("mine_touch:x", key=KEY, group=GROUP)
    with (
        imports_allowed(None),
        pytest.raises(InputError, match="--allow-import"),
    ):
        load_named("mine_touch:x", key=KEY, group=GROUP)
    assert "mine_touch" not in sys.modules


def test_blocks_of_several_threads_may_end_in_any_order(folder: Path) -> None:
    before, end = list(sys.path), os._exit
    contexts = [copy_context() for _ in "ab"]
    blocks = [imports_allowed([str(folder)]) for _ in contexts]
    hands = [in_hand({"__main__:made": n}) for n, _ in enumerate(contexts)]

    def made() -> object:
        return load_named("__main__:made", key=KEY, group=GROUP)

    for context, block, hand in zip(contexts, blocks, hands, strict=True):
        context.run(block.__enter__)
        context.run(hand.__enter__)
    assert [context.run(made) for context in contexts] == [0, 1]
    # A thread that an engine has started.
    assert made() == 1
    ended = (None, None, None)
    contexts[0].run(hands[0].__exit__, *ended)
    contexts[0].run(blocks[0].__exit__, *ended)
    assert contexts[1].run(made) == 1
    with pytest.raises(InputError, match="no module 'mine_absent'"):
        load_named("mine_absent:x", key=KEY, group=GROUP)
    contexts[1].run(hands[1].__exit__, *ended)
    contexts[1].run(blocks[1].__exit__, *ended)
    assert (sys.path, os._exit) == (before, end)
    with pytest.raises(InputError, match="was defined in a program or a notebook"):
        made()


def test_permission_and_search_path_end_with_the_block(folder: Path) -> None:
    (folder / "mine_value.py").write_text("value = 7\n")
    before = list(sys.path)
    assert load("mine_value:value", folder) == 7
    assert sys.path == before
    with pytest.raises(InputError, match="--allow-import"):
        load_named("mine_value:value", key=KEY, group=GROUP)


@pytest.mark.parametrize(
    ("code", "reference", "message"),
    [
        (None, "mine_absent:x", "no module 'mine_absent' among the installed packages"),
        ("import mine_lacking", "mine_a:x", "'mine_a' needs 'mine_lacking'"),
        ("valeu = 1", "mine_b:value", "has no 'value'. Did you mean 'valeu'"),
        ("x = 1 / 0", "mine_c:x", "importing mine_c failed with ZeroDivisionError"),
        ("x = (", "mine_d:x", "importing mine_d failed with SyntaxError"),
        ("from math import nothing", "mine_e:x", "importing mine_e failed with ImportError"),
    ],
)
def test_what_cannot_be_imported_is_named_with_its_key(
    folder: Path, code: str | None, reference: str, message: str
) -> None:
    if code is not None:
        (folder / f"{reference.partition(':')[0]}.py").write_text(code + "\n")
    with pytest.raises(InputError) as refused:
        load(reference, folder)
    assert str(refused.value).startswith(f"problem.factory = '{reference}'")
    assert message in str(refused.value)


def test_where_was_searched_is_said(folder: Path) -> None:
    with pytest.raises(
        InputError, match="run the command in the folder that contains it"
    ) as refused:
        load("mine_absent.deep:x", folder)
    assert str(folder) in str(refused.value)


def test_an_installed_entry_point_needs_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("sine", "math:sin", GROUP)

    def entry_points(**chosen: Any) -> EntryPoints:
        return EntryPoints([point]).select(**chosen)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    function = load_named("sine", key=KEY, group=GROUP)
    assert callable(function)
    assert function(0.0) == 0.0
    with pytest.raises(InputError, match=r"'sien' is not registered .* Did you mean 'sine'"):
        load_named("sien", key=KEY, group=GROUP)


@pytest.mark.parametrize(
    ("reference", "said"),
    [("mine.problem", "has no colon: write mine:problem"), ("mine.py:problem", "leave out .py")],
)
def test_a_misspelt_reference_is_answered_with_the_right_one(
    reference: str, said: str, folder: Path
) -> None:
    (folder / "mine.py").write_text("def problem(): ...\n")
    with imports_allowed([str(folder)]), pytest.raises(InputError, match=said):
        load_named(reference, key=KEY, group=GROUP)


def test_a_source_is_known_by_its_file_without_being_run(folder: Path) -> None:
    file = folder / "mine_source.py"
    file.write_text("raise RuntimeError\n")
    with imports_allowed([str(folder)]):
        first = source_of("mine_source:x", GROUP)
        file.write_text("raise ValueError\n")
        second = source_of("mine_source:x", GROUP)
        assert source_of("mine_absent:x", GROUP) is None
    assert first is not None
    assert second is not None
    assert (first.module, first.version) == ("mine_source", None)
    assert first.sha256 != second.sha256
    assert "mine_source" not in sys.modules
    installed = source_of("pydantic:BaseModel", GROUP)
    assert installed is not None
    assert installed.version is not None
