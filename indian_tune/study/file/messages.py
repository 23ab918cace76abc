"""Turns pydantic's errors into messages in the words of a study file."""

from __future__ import annotations

import re
import types
import typing
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from indian_tune.errors import alternatives, unknown_name
from indian_tune.text import plain_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_KINDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "a string",
}
# The names that pydantic gives to the branches of a union are not keys of the file.
_BRANCHES = ("constrained-int", "function-", "int", "list[")


def explain(error: ValidationError, model: type[BaseModel], source: str) -> str:
    """Return one message for all that is wrong with a study file.

    Args:
        error: what pydantic found.
        model: the model that was validated.
        source: name of the file.
    """
    lines = list(dict.fromkeys(describe(details, model) for details in _settled(error.errors())))
    if len(lines) == 1:
        return f"{source}: {lines[0]}"
    return f"{source} has {len(lines)} mistakes:\n" + "\n".join(f"  - {line}" for line in lines)


def _settled(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Drop what the branches of a union say that was not meant: a list that is no number."""
    keys = [_key(_location(details)) for details in errors]
    return [
        details
        for details, key in zip(errors, keys, strict=True)
        if details["type"] not in _KINDS
        or (
            not any(other.startswith(f"{key}[") for other in keys)
            and next(d for d, k in zip(errors, keys, strict=True) if k == key) is details
        )
    ]


_DIGITS = re.compile(r"\d{50,}")


def _location(details: ErrorDetails) -> list[int | str]:
    return [part for part in details["loc"] if not _is_branch(part)]


def describe(details: ErrorDetails, model: type[BaseModel], key: str | None = None) -> str:
    """Return a sentence for one thing that is wrong.

    Args:
        details: one of what pydantic found.
        model: that was validated.
        key: what the user calls the value; its path in the model if ``None``.
    """
    # A message is read by a person, and repeats no number of thousands of digits.
    return _DIGITS.sub(
        lambda run: f"{run[0][:9]}… ({len(run[0]):,} digits)", _sentence(details, model, key)
    )


def _sentence(details: ErrorDetails, model: type[BaseModel], key: str | None) -> str:
    location = _location(details)
    key = _key(location) if key is None else key
    value = details["input"]
    context = details.get("ctx", {})
    match details["type"]:
        case "value_error":
            message = str(context["error"])
            return f"{key}: {message}" if key and not message.startswith(key) else message
        case "extra_forbidden":
            owner = _model_at(model, location[:-1])
            keys = owner.model_fields if owner is not None else ()
            return f"{key} is not a key of a study file.{alternatives(location[-1], keys)}"
        case "missing":
            return f"{key} is missing"
        case "literal_error":
            owner = _model_at(model, location[:-1])
            allowed = (
                () if owner is None else _literals(owner.model_fields[str(location[-1])].annotation)
            )
            return unknown_name(key, value, [str(name) for name in allowed])
        case "string_pattern_mismatch":
            return (
                f"{key} = {value!r} may hold ASCII letters, digits, '.', '_' and '-' only, "
                "and must begin with a letter or digit"
            )
        case "string_too_long":
            return f"{key} must have at most {context['max_length']} characters, not {len(value):,}"
        case "too_short":
            return f"{key} is empty: give at least {context['min_length']}"
        case kind if kind in _KINDS:
            return f"{key} = {value!r} must be {_KINDS[kind]}"
    limits = {
        "greater_than": ("gt", "above"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "below"),
        "less_than_equal": ("le", "at most"),
    }
    if details["type"] in limits:
        name, word = limits[details["type"]]
        return f"{key} = {value!r} must be {word} {plain_number(context[name])}"
    return f"{key} = {value!r}: {details['msg']}"


def _is_branch(part: int | str) -> bool:
    return isinstance(part, str) and part.startswith(_BRANCHES) and part not in ("init", "init_std")


def _key(location: list[int | str]) -> str:
    text = ""
    for part in location:
        # Lists are counted from 1, as people count the [[arms]] of a file.
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _model_at(model: type[BaseModel], location: list[int | str]) -> type[BaseModel] | None:
    current: Any = model
    for part in location:
        if isinstance(part, int):
            (current,) = typing.get_args(current) or (None,)
        elif isinstance(current, type) and issubclass(current, BaseModel):
            current = _given(current.model_fields[part].annotation)
        else:
            return None
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _given(annotation: Any) -> Any:
    """Return what a key that may be left out holds where it is given."""
    kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
    return kinds[0] if isinstance(annotation, types.UnionType) and len(kinds) == 1 else annotation


def _literals(annotation: Any) -> list[object]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return [name for branch in typing.get_args(annotation) for name in _literals(branch)]
    return []
