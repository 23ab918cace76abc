"""An option that the engine would ignore, or cannot use, is refused; nothing is written."""

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
        ("--devices cuda:0,cuda:1 --engine inline", "names several devices, but --engine inline"),
        ("--workers 0", "--workers = 0 must be at least 1"),
        ("--gpus-per-trial -1 --engine ray", "--gpus-per-trial = -1.0 must be at least 0"),
        ("--gpus-per-trial 1.5 --engine ray", "= 1.5 must be a whole number, or below 1"),
        ("--slots 0 --engine ray", "--lanes"),
        ("--shrink-packs --engine ray", "--shrink-packs needs --lanes with --engine ray: add it"),
        (
            "--engine-option workerz=2",
            "--engine-option workerz = 2 is not for --engine optuna. Did you mean 'workers'?",
        ),
        ("--engine-option lanes=x", "--lanes = 'x' must be a whole number"),
        ("--engine-option lanes", "--engine-option = 'lanes' must be NAME=VALUE"),
        ("--lanes 2 --engine-option lanes=2", "lanes is given twice: remove one"),
        ("--engine rya", "--engine = 'rya' is not known. Did you mean 'ray'? Allowed: inline, "),
    ],
)
def test_an_option_of_another_engine_is_refused(
    command: Callable[..., Ended], tmp_path: Path, arguments: str, message: str
) -> None:
    ended = command("search", "quickstart", *arguments.split())
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert list(tmp_path.iterdir()) == []
