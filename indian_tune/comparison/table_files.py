"""Runs from CSV, JSON lines, JSON, Parquet, and lists of numbers."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from indian_tune.errors import InputError
from indian_tune.text import read_json, read_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The column of a file that is a list of numbers.
LISTED = "value"
_PARQUET = b"PAR1"
_SEPARATORS = ",;\t"


def read_table(path: Path) -> pd.DataFrame:
    """Return the rows of a file; of a text file as it says them, so that empty is not "nan".

    Args:
        path: ends with .csv, .tsv, .jsonl, .ndjson, .json, .parquet or, for numbers alone, .txt.

    Raises:
        InputError: it cannot be read, or is of another kind than its name says.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path} has an unknown file type: give a file that ends with {', '.join(_READERS)}, "
            "a folder of event files, or a database"
        )
    try:
        with path.open("rb") as opened:
            start = opened.read(4)
        if (start == _PARQUET) != (reader is _parquet):
            kind = "a Parquet file" if start == _PARQUET else "not a Parquet file"
            raise InputError(f"{path} is {kind}, which does not match its name: rename it")
        return reader(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        first = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {first}") from error


def _csv(path: Path) -> pd.DataFrame:
    text = read_text(path)
    head = text.lstrip().partition("\n")[0]
    if head.lstrip().startswith(("{", "[")):
        raise InputError(f"{path} contains JSON: rename it to .json or .jsonl")
    separator = max(_SEPARATORS, key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error
    names = rows[0][1] if rows else []
    if not any(names):
        raise InputError(f"{path} is empty: give a line of column names, then a line per run")
    if any(map(_is_number, names)):
        raise InputError(
            f"{path} has no line of column names: add one, or rename the file to .txt if it is a "
            "list of numbers"
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has the column {twice!r} twice: rename or remove one")
    odd = next(((n, row) for n, row in rows if len(row) != len(names)), None)
    if odd is not None:
        raise InputError(
            f"{path}, line {odd[0]} has {len(odd[1])} fields, but there are {len(names)} column "
            "names: correct that line"
        )
    columns = zip(*(row for _, row in rows[1:]), strict=True) if rows[1:] else [()] * len(names)
    # As texts, so that empty is not "nan", and an arm may be called null or 1.
    return pd.DataFrame({n: pd.Series(c, dtype=str) for n, c in zip(names, columns, strict=True)})


def _listed(path: Path) -> pd.DataFrame:
    words = read_text(path).replace(",", " ").split()
    odd = next((word for word in words if not _is_number(word)), None)
    if odd is not None or not words:
        raise InputError(
            f"{path} must contain numbers only, got {odd or 'nothing'!r}: give a table as .csv"
        )
    return pd.DataFrame({LISTED: words})


def _json_lines(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(read_json(line))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number} is not JSON: {error.msg}; every line must contain one "
                "object"
            ) from error
    return _frame(rows, path)


def _json(path: Path) -> pd.DataFrame:
    try:
        rows = read_json(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}; call JSON lines .jsonl") from error
    return _frame(rows, path)


def _frame(rows: Any, path: Path) -> pd.DataFrame:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} must contain a list of objects, one for every run")
    flat = [dict(_flattened(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    # As objects, so that null and NaN stay two things.
    return pd.DataFrame({n: pd.Series([row.get(n) for row in flat], dtype=object) for n in names})


def _flattened(row: dict[str, Any], prefix: str = "") -> Any:
    """Yield the members of an object, those of objects in it as ``outer.inner``."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text)) or text.lower() == "nan"
    except ValueError:
        return False


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    **dict.fromkeys((".csv", ".tsv"), _csv),
    **dict.fromkeys((".jsonl", ".ndjson"), _json_lines),
    ".json": _json,
    ".parquet": _parquet,
    ".txt": _listed,
}
