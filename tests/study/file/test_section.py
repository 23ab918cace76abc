from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field

from indian_tune.study.file.section import ADDED, Count, Section


class Inner(Section):
    size: Count = 3
    limit: Annotated[Count | None, ADDED] = None


class Outer(Section):
    inner: Inner = Field(default_factory=Inner)
    names: Annotated[list[str], ADDED, Field(default_factory=list)]
    parts: list[Inner] = Field(default_factory=list)


def test_an_added_key_is_left_out_while_it_is_at_its_default() -> None:
    assert Outer.model_validate({}).model_dump(mode="json") == {"inner": {"size": 3}, "parts": []}
    given = Outer.model_validate({"inner": {"limit": None}, "names": [], "parts": [{}]})
    assert given.model_dump(mode="json") == {"inner": {"size": 3}, "parts": [{"size": 3}]}


@pytest.mark.parametrize(
    "raw",
    [
        {"inner": {"size": 3, "limit": 5}, "parts": []},
        {"inner": {"size": 3}, "names": ["a"], "parts": [{"size": 1, "limit": 2}]},
    ],
)
def test_an_added_key_is_written_out_where_it_was_set_and_read_back(raw: dict[str, Any]) -> None:
    read = Outer.model_validate(raw)
    assert read.model_dump(mode="json") == raw
    assert Outer.model_validate(read.model_dump(mode="json")) == read
