"""Text of any content can be stored in every column that holds text, on both databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from indian_tune.ledger import Ledger
from indian_tune.ledger import tables as t
from indian_tune.ledger.states import Phase, State

HOSTILE = "a\0b\ud800\x1b[31m\u202e'\"%s{}\U0001f600"
# Far longer than any column that has a length.
LONG = HOSTILE * 1000
# Columns that may hold nothing but the words of a list.
LISTED = {"phase": Phase.TUNE, "state": State.WAITING}


def value_of(column: sa.Column[Any], text: str) -> Any:
    """Return a value for a column: the text wherever one fits."""
    if column.name in LISTED:
        return str(LISTED[column.name])
    kinds: dict[type[Any], Any] = {
        sa.JSON: {"text": text, "list": [text]},
        sa.Integer: 1,
        sa.Double: 0.5,
        sa.Boolean: False,
        sa.LargeBinary: text.encode("utf-8", "surrogatepass"),
        t.UtcDateTime: datetime(2026, 1, 1, tzinfo=UTC),
    }
    return next((value for kind, value in kinds.items() if isinstance(column.type, kind)), text)


@pytest.mark.parametrize("text", [HOSTILE, LONG], ids=["short", "long"])
def test_any_text_is_stored_in_every_column(database: str, text: str) -> None:
    with Ledger.open(database) as ledger, ledger._writer.begin() as connection:
        for table in t.metadata.sorted_tables:
            row = {
                column.name: value_of(column, text)
                for column in table.columns
                if not column.foreign_keys
            }
            keys = {
                column.name: connection.scalar(sa.select(key.column))
                for column in table.columns
                for key in column.foreign_keys
            }
            connection.execute(sa.insert(table).values({**row, **keys}))
            (stored,) = connection.execute(sa.select(table)).mappings()
            for column in table.columns:
                if isinstance(column.type, sa.JSON):
                    # As JSON has it, which every database keeps and no page or terminal shows.
                    assert stored[column.name] == row[column.name]
                    assert json.dumps(stored[column.name]).isascii()
                elif column.name in row and row[column.name] == text:
                    assert str(stored[column.name]).startswith(r"a\x00b\ud800"), column
                    str(stored[column.name]).encode()
            # What is asked for is written in the same way, so that it is found again.
            for column in table.columns:
                if row.get(column.name) == text:
                    found = connection.scalar(sa.select(table).where(column == text))
                    assert found is not None, column
