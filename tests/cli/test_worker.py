"""`indian-tune worker` says what it does, and what it does not find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines import process_info
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import artifacts_folder, note_start, open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import STARTED, Ledger, LedgerReader, storage_url
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


@pytest.fixture
def keeping_weights(tiny: dict[str, Any]) -> None:
    """Let every run on a fresh seed write a file, however fast it is."""
    tiny["protocol"]["keep_checkpoints"] = True


@pytest.mark.usefixtures("keeping_weights")
def test_a_worker_that_cannot_go_on_says_with_what_to_join_again(
    tmp_path: Path, work: Callable[..., tuple[int, str]]
) -> None:
    (tmp_path / "here").mkdir()
    # Where the weights belong.
    (tmp_path / "here/kept").touch()
    status, told = work("--artifacts", "here")
    assert status == 1
    assert "Traceback" not in told
    assert "Continue with:\n  indian-tune worker tiny --artifacts here" in told


def test_a_worker_uses_the_recorded_folder_and_does_not_change_the_record(
    tmp_path: Path, work: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded() -> list[str]:
        with LedgerReader.open(f"sqlite:///{tmp_path / 'indian-tune.db'}") as ledger:
            return [each.data["artifacts"] for each in ledger.events(1, STARTED)]

    usual = tmp_path / "indian-tune-artifacts"
    (tmp_path / "file").touch()
    status, told = work("--artifacts", "file/below")
    assert (status, recorded()) == (2, [])
    assert "--artifacts = 'file/below'" in told
    with Ledger.open(f"sqlite:///{tmp_path / 'indian-tune.db'}") as ledger:
        study = ledger.study("tiny")
        assert note_start(ledger, study, usual, "indian-tune search tiny") is None
        other = note_start(ledger, study, tmp_path / "mount", joins=True)
        assert f"are in {usual}, but this worker uses {tmp_path / 'mount'}" in str(other)
        usual.rename(tmp_path / "moved")
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(process_info, "host", lambda: "other")
            missing = str(note_start(ledger, study, usual, joins=True))
        assert "'other' has no such folder" in missing
        (tmp_path / "moved").rename(usual)
    before = recorded()
    assert before == [str(usual)]

    status, told = work()
    assert status == 0, told
    assert f"checkpoints in {usual}." in " ".join(told.split())
    assert "from the beginning" not in told
    assert recorded() == before


def test_a_worker_tells_what_it_does_and_that_checkpoints_are_missing(
    tmp_path: Path, work: Callable[..., tuple[int, str]]
) -> None:
    status, told = work("--artifacts", "elsewhere", "--workers", "2")
    assert status == 0, told
    assert "Working on tiny with 2 workers on cpu" in told
    assert (
        "no checkpoint of indian/0 found: it starts from the beginning and trains 1 epoch again"
    ) in told
    assert "sgd/1: complete" in told
    assert "tiny is finished: nothing is left to train." in told

    status, told = work()
    assert status == 0, told
    assert "Working on" not in told
    assert "tiny is finished: nothing is left to train." in told
