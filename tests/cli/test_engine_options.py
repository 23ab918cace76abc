"""An option that the engine would ignore is refused; nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--ray-address auto", "--ray-address = auto is not for --engine optuna: leave it out"),
        ("--ray-storage x --engine inline", "--ray-storage = x is not for --engine inline"),
        ("--gpus-per-trial 0.5", "--gpus-per-trial = 0.5 is not for --engine optuna"),
        ("--devices cpu --engine ray", "--devices = cpu is not for --engine ray"),
        ("--workers 2 --engine inline", "or use --engine optuna or ray"),
        ("--lanes 2 --engine ray", "let several trials share a GPU with --gpus-per-trial"),
        ("--slots 2 --engine ray", "--lanes = 2 is not for --engine ray"),
        ("--shrink-packs --engine ray", "--shrink-packs is not for --engine ray"),
    ],
)
def test_an_option_of_another_engine_is_refused(
    command: Callable[..., Ended], tmp_path: Path, arguments: str, message: str
) -> None:
    ended = command("search", "quickstart", *arguments.split())
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert list(tmp_path.iterdir()) == []
