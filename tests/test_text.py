from __future__ import annotations

import io
import sys
import tomllib
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indian_tune.text import (
    counted,
    in_column,
    printable,
    read_text,
    read_toml,
    storable,
    tolerate_encodings,
)

if TYPE_CHECKING:
    from pathlib import Path


@given(st.text())
def test_nothing_that_a_terminal_acts_on_is_left(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(char) for char in shown if char not in "\n\t"} & {
        *("Cc", "Cf", "Cs", "Zl", "Zp"),
    }
    assert "\x1b" not in shown
    assert "\r" not in shown
    shown.encode()


@given(st.text(st.characters(), max_size=40), st.integers(2, 40))
def test_what_is_stored_can_be_stored(text: str, most: int) -> None:
    stored = storable(text, most)
    stored.encode()
    assert "\0" not in stored
    assert len(stored) <= most
    if len(text) <= most and text.isprintable():
        assert stored == text


def test_an_escape_sequence_is_shown_as_such() -> None:
    assert printable("a\x1b[31mRED\u202e\ud800") == r"a\x1b[31mRED\u202e\ud800"
    assert printable("α → β\n\tγ0 [/bold]") == "α → β\n\tγ0 [/bold]"


def test_a_byte_order_mark_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "bom.toml"
    file.write_bytes(b"\xef\xbb\xbfname = 1")
    assert read_toml(read_text(file)) == {"name": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"n = {'9' * 5000}", "a number has too many digits"),
        (f"n = {'[' * 100_000}", "nested too deeply"),
        ("n = ", "Invalid value"),
    ],
)
def test_toml_that_no_program_should_read_is_invalid(text: str, message: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match=message):
        read_toml(text)


def test_a_console_gets_other_characters_for_those_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    tolerate_encodings()
    print("α=0.5 → ≤ 3 ± 1 漢", flush=True)
    assert written.getvalue() == rb"a=0.5 > <= 3 + 1 \u6f22" + b"\n"


def test_a_count_agrees_with_its_noun() -> None:
    assert [counted(n, "tune seed") for n in (0, 1, 1200)] == [
        "0 tune seeds",
        "1 tune seed",
        "1,200 tune seeds",
    ]


def test_the_numbers_of_a_column_have_as_many_decimals() -> None:
    assert in_column([0.5, 0.512, None, float("nan")]) == ["0.500", "0.512", "–", "–"]
    assert in_column([230.4, 235.0, 99.0]) == ["230.4", "235.0", "99.0"]
    assert in_column([-2.302585, 0.01234]) == ["-2.30259", "0.01234"]
    # Of sizes that differ too much each is short.
    assert in_column([1234.5, 0.00123]) == ["1234", "0.00123"]
    assert in_column([1.5, 1e-9]) == ["1.5", "1e-09"]
    assert in_column([3.0, 4.0, -0.0], 3) == ["3", "4", "0"]
    assert in_column([]) == []
