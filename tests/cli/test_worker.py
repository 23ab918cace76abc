"""`indian-tune worker` says what it does, and what it does not find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import artifacts_folder, open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import storage_url
from indian_tune.study.file.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended


@pytest.fixture
def work(
    tmp_path: Path,
    tiny: dict[str, Any],
    command: Callable[..., Ended],
    caplog: pytest.LogCaptureFixture,
) -> Callable[..., tuple[int, str]]:
    """Let a worker join a study that was stopped after its first epoch; return what it told."""
    storage = storage_url(f"sqlite:///{tmp_path / 'indian-tune.db'}")
    settings = WorkerSettings(str(storage), "tiny", artifacts_folder(storage))
    interrupt = Interrupt()

    def stop() -> None:
        interrupt.requests = 1

    with open_session(parse_study(tiny, source="tiny.toml"), storage, None):
        InlineEngine(settings).run(interrupt, stop)

    def joined(*options: str) -> tuple[int, str]:
        caplog.clear()
        ended = command("worker", "tiny", *options)
        return ended.status, ended.err + caplog.text

    return joined


def test_a_worker_that_cannot_go_on_says_with_what_to_join_again(
    tmp_path: Path, work: Callable[..., tuple[int, str]]
) -> None:
    (tmp_path / "file").touch()
    status, told = work("--artifacts", "file/below")
    assert status == 1
    assert "Traceback" not in told
    assert "Continue with:\n  indian-tune worker tiny --artifacts file/below" in told


def test_a_worker_tells_what_it_does_and_that_checkpoints_are_missing(
    tmp_path: Path, work: Callable[..., tuple[int, str]]
) -> None:
    status, told = work("--artifacts", "elsewhere")
    assert status == 0, told
    assert "Working on tiny with cpu" in told
    assert (
        "no checkpoint of indian/0 found: it starts from the beginning and trains 1 epoch again"
    ) in told
    assert "sgd/1: complete" in told
    assert "tiny is finished: nothing is left to train." in told

    status, told = work()
    assert status == 0, told
    assert f"were written to {tmp_path / 'elsewhere'} before" in told
    assert "Give the former folder with --artifacts" in told
    assert "Working on" not in told
    assert "tiny is finished: nothing is left to train." in told
