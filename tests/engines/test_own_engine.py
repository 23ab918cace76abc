"""An engine that an installed package brings works like those of the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.cli import main
from indian_tune.engines import engine_names, engine_options
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.conftest import Metrics


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package in `own_engine` be installed."""
    monkeypatch.syspath_prepend(Path(__file__).with_name("own_engine"))


def test_it_trains_a_study_to_the_same_bits(
    tiny: dict[str, Any],
    storage: str,
    tmp_path: Path,
    write_study: Callable[[dict[str, Any]], Path],
    undisturbed: Metrics,
    metrics: Callable[[str], Metrics],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = ("--engine", "thread", "--engine-option", "at_once=2")
    words = ["indian-tune", "search", str(write_study(tiny)), "--storage", storage, *engine]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "starting in a thread" in capsys.readouterr().err
    assert metrics(storage) == undisturbed


def test_it_is_listed() -> None:
    assert engine_names() == ["inline", "notes", "optuna", "ray", "thread"]
    with pytest.raises(InputError, match=r"'tread' is not known\. Did you mean 'thread'\? Allowed"):
        engine_options("tread", {})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"at_once": "0"}, "--engine-option at_once = '0' must be at least 1"),
        ({"at_once": "two"}, "--engine-option at_once = 'two' must be a whole number"),
        ({"atonce": "2"}, r"atonce = 2 is not for --engine thread\. Did you mean 'at_once'\?"),
        ({"lanes": 2}, "--lanes = 2 is not for --engine thread: leave it out, or use --engine inl"),
    ],
)
def test_it_refuses_what_is_not_its_own(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        engine_options("thread", given)


def test_what_names_no_options_is_no_engine() -> None:
    with pytest.raises(InputError, match=r"'notes': the entry point names .* must be a subclass"):
        engine_options("notes", {})
