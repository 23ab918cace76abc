"""What a worker loads before its first claim: where many start, it is paid many times."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.processes import ProcessEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.file.spec import StudySpec

UNTIL_THE_FIRST_CLAIM = """
import sys
from pathlib import Path

from indian_tune.engines.local.processes import train
from indian_tune.engines.settings import WorkerSettings
from indian_tune.study.controller import Controller

class Claimed(Exception): ...

def claim(*_: object, **__: object) -> None:
    raise Claimed

Controller.claim = claim
try:
    train(WorkerSettings(storage=sys.argv[1], study="tiny", artifacts=Path(sys.argv[2])), bool)
except Claimed:
    heavy = {"torch", "ray", "sklearn", "scipy", "pandas", "matplotlib", "torchvision"}
    print(*sorted(heavy & set(sys.modules)))
"""


@pytest.mark.slow
def test_a_worker_loads_torch_and_none_of_the_other_large_packages(
    storage: str,
    tiny: dict[str, Any],
    register: Callable[[str, dict[str, Any]], StudySpec],
    settings_for: Callable[..., WorkerSettings],
) -> None:
    register(storage, tiny)
    tried = subprocess.run(
        [sys.executable, "-c", UNTIL_THE_FIRST_CLAIM, storage, settings_for(storage).artifacts],
        capture_output=True,
        text=True,
        check=True,
    )
    assert tried.stdout.split() == ["torch"]


def starting_a_process(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """As the loader of a loop of one's own does."""
    made = multiprocessing.get_context("fork").Process(
        target=(settings.artifacts / "made").touch, daemon=True
    )
    made.start()
    made.join()


def test_own_code_may_start_processes_in_a_worker(
    storage: str, settings_for: Callable[..., WorkerSettings]
) -> None:
    settings = settings_for(storage)
    settings.artifacts.mkdir(parents=True)
    ProcessEngine([settings], starting_a_process).run(Interrupt(), lambda: None)
    assert (settings.artifacts / "made").exists()
