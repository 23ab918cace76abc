"""What most tests need: a study small enough to train in a second, and a database for it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TINY: dict[str, Any] = {
    "name": "tiny",
    "problem": {
        "dataset": "digits",
        "model": "nin-small",
        "width": 0.2,
        "batch_size": 128,
        "validation_fraction": 0.25,
    },
    "protocol": {"epochs": 2, "tune_epochs": 2, "tune_seeds": 1, "confirm_seeds": 2},
    "search": {"trials": 2, "sampler": "random", "seed": 7},
    "arms": [
        {"name": "indian", "optimizer": "indian"},
        {"name": "sgd", "optimizer": "sgd"},
    ],
}


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A study of two arms, two trials each, on digits, as a study file would say it."""
    return copy.deepcopy(TINY)


@pytest.fixture(scope="session")
def tiny_toml() -> str:
    """The same study as the text of its file."""
    return to_toml(TINY)


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """Address of a database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a study file from plain data; return its path."""

    def write(study: dict[str, Any]) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(to_toml(study), encoding="utf-8")
        return path

    return write


def to_toml(study: dict[str, Any]) -> str:
    """Return plain data as TOML, as far as study files need it."""
    top = [f"{key} = {_value(value)}" for key, value in study.items() if _is_plain(value)]
    parts = ["\n".join(top)]
    for key, value in study.items():
        if isinstance(value, dict):
            parts.append("\n".join([f"[{key}]", *_pairs(value)]))
        elif isinstance(value, list) and not _is_plain(value):
            parts += ["\n".join([f"[[{key}]]", *_pairs(part)]) for part in value]
    return "\n\n".join(parts) + "\n"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return not value or not isinstance(value[0], dict)
    return not isinstance(value, dict)


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(_pairs(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return repr(value)
