"""A column of a file or frame as numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray


def numbers(rows: pd.DataFrame, column: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return a column as floats, and where it is empty; texts such as "1e-3" and "nan" are read.

    Raises:
        InputError: it holds something else.
    """
    values = rows[column]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        found = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return found, np.isnan(found)
    found, absent = np.full(len(values), np.nan), np.zeros(len(values), dtype=bool)
    # A column of texts alone has no other way to say that one is missing.
    texts = values.dtype != object
    for place, (row, value) in enumerate(values.items()):
        empty = value is None or value is pd.NA or value is pd.NaT or value == ""
        if empty or (texts and isinstance(value, float) and math.isnan(value)):
            absent[place] = True
        else:
            found[place] = _number(value, column, rows, row)
    return found, absent


def _number(value: Any, column: str, rows: pd.DataFrame, row: Hashable) -> float:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        arm = rows.at[row, "arm"] if "arm" in rows else None
        of = "" if arm is None else f" of arm {arm!r}"
        raise InputError(
            f"column {column} must contain numbers, got {str(value)[:40]!r}{of}: choose another "
            "column, or correct the file"
        ) from None
