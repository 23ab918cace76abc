"""Study files that are wrong in one place: one message that names it, status 2, nothing written."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.study.claims import ClaimsSection
from indian_tune.study.file.arm import ArmSection
from indian_tune.study.file.problem import ProblemSection
from indian_tune.study.file.protocol import ProtocolSection
from indian_tune.study.file.search import SearchSection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.study.file.section import Section
    from tests.cli.conftest import Ended

SECTIONS: dict[str, type[Section]] = {
    "problem": ProblemSection,
    "protocol": ProtocolSection,
    "search": SearchSection,
    "claims": ClaimsSection,
}
# What no key takes: a truth value where a number or a text is due, and so on.
WRONG: dict[str, list[Any]] = {
    "tf32": [1, "yes"],
    "fixed": [1, "yes"],
    "keep_checkpoints": [1, "yes"],
    "half_budget": [1, "yes"],
    "space": ["wide", {"alhpa": 0.5}, {"alpha": True}, {"alpha": {"low": 1}}],
    "factory": [True, {"no": "such"}, "os.system", "a module:name", "os:", ""],
    "sizes": [
        True,
        {"no": "such"},
        {"train": 9, "validation": 0},
        {"train": 1000, "validation": 500},
    ],
    "arguments": [True, {"path": "no-factory.csv"}],
    "sampler": [True, {"no": "such"}, {"name": "tpe", "no": "such"}, "os.system", "a b:Class"],
    "pruner": [True, {"no": "such"}, {"name": "median", "n_min_trials": 0}, {"name": "os:"}],
    "default": ["small", {"alpha": "half"}],
    **{key: [True, {"arm": 1}] for key in ("h1", "h2", "h3a", "h3b", "h4")},
}
# A file is a table of tables; these are wrong as a whole.
WHOLE = [
    {"problem": "digits"},
    {"protocol": 3},
    {"search": []},
    {"claims": "all"},
    {"arms": {}},
    {"arms": []},
    {"arms": ["sgd"]},
    {"factors": 1},
    {"name": ""},
    {"name": "a b"},
    {"name": 7},
    {"nmae": "x"},
    {"description": 1},
]


def mistakes() -> list[tuple[str, str, Any]]:
    """Return section, key and a value that the key cannot have, for every key there is."""
    found: list[tuple[str, str, Any]] = []
    for section, model in SECTIONS.items():
        found += [
            (section, key, value)
            for key in model.model_fields
            for value in WRONG.get(key, [True, {"no": "such"}])
        ]
        found.append((section, "no_such_key", 1))
    found += [
        ("arms", key, value)
        for key in ArmSection.model_fields
        for value in WRONG.get(key, [True, 1.5])
    ]
    return [*found, ("arms", "no_such_key", 1)]


MISTAKES = mistakes()


def refused(ended: Ended, folder: Path, before: set[Path], key: str) -> None:
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.startswith("Error: ")
    assert "Traceback" not in ended.err
    assert key in ended.err
    assert set(folder.rglob("*")) == before


def test_there_are_more_than_a_hundred() -> None:
    assert len(MISTAKES) + len(WHOLE) > 100


@pytest.mark.parametrize(
    ("section", "key", "value"), MISTAKES, ids=[f"{s}.{k}={v}" for s, k, v in MISTAKES]
)
def test_a_wrong_value_is_named_with_its_key_and_nothing_is_written(
    tmp_path: Path,
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    command: Callable[..., Ended],
    section: str,
    key: str,
    value: Any,
) -> None:
    study = copy.deepcopy(tiny)
    place = study["arms"][0] if section == "arms" else study.setdefault(section, {})
    place[key] = value
    file = write_study(study)
    before = set(tmp_path.rglob("*"))
    refused(command("search", file), tmp_path, before, key)


@pytest.mark.parametrize("changes", WHOLE, ids=str)
def test_a_file_that_is_wrong_as_a_whole_is_named_with_its_key_and_nothing_is_written(
    tmp_path: Path,
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    command: Callable[..., Ended],
    changes: dict[str, Any],
) -> None:
    file = write_study({**tiny, **changes})
    before = set(tmp_path.rglob("*"))
    refused(command("search", file), tmp_path, before, next(iter(changes)))
