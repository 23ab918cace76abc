"""A disk without room for a checkpoint: one sentence, and the run continues from the one before."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.errors import CheckpointError
from indian_tune.ledger import LedgerReader, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indian_tune.engines.settings import WorkerSettings
    from tests.engines.conftest import Metrics


@pytest.mark.parametrize("room_for", [0, 1, 5])
def test_a_search_without_room_for_checkpoints_ends_and_goes_on_later(
    room_for: int,
    storage: str,
    tiny: dict[str, Any],
    register: Callable[..., object],
    settings_for: Callable[..., WorkerSettings],
    undisturbed: Metrics,
    metrics: Callable[..., Metrics],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # After every epoch.
    for limit in ("LEAST_CHECKPOINT_SECONDS", "MOST_CHECKPOINT_SECONDS"):
        monkeypatch.setattr(f"indian_tune.engines.trials_in_hand.{limit}", 0.0)
    register(storage, tiny)
    sync, room = os.fsync, room_for

    def full(descriptor: int) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match=r"No space left on device\. Free disk space or"):
            InlineEngine(settings_for(storage)).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        assert ledger.integrity_errors() == []
        # Nobody is blamed, and nobody has to wait for the trial in hand.
        assert not ledger.trials(study.id, states=(State.FAILED,))
        assert all(worker.left_at is not None for worker in ledger.workers(study.id))
    InlineEngine(settings_for(storage)).run(Interrupt(), lambda: None)
    assert metrics(storage) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    ["optuna", *(pytest.param(name, marks=pytest.mark.night) for name in ("inline", "ray"))],
)
def test_a_search_on_a_real_disk_that_is_full_says_so_and_goes_on_elsewhere(
    engine: str,
    tmp_path: Path,
    storage: str,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    write_study: Callable[[dict[str, Any]], Path],
    metrics: Callable[..., Metrics],
) -> None:
    # A run that takes less than a second needs no checkpoint; its weights are written in any case.
    tiny["protocol"]["keep_checkpoints"] = True
    disk = tmp_path / "disk"
    disk.mkdir()
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=4k tmpfs {shlex.quote(str(disk))}"
    if subprocess.run([*namespace, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    search = [
        *(sys.executable, "-m", "indian_tune", "search", str(write_study(tiny))),
        *("--storage", storage, "--engine", engine),
        *(() if engine == "inline" else ("--workers", "1")),
    ]
    on_disk = f"{mount} && exec {shlex.join([*search, '--artifacts', str(disk)])}"
    done = subprocess.run([*namespace, on_disk], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "Continue with:\n  indian-tune search" in done.stderr
    assert "Traceback" not in done.stderr
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        assert not ledger.trials(study.id, states=(State.FAILED, State.RUNNING))
    done = subprocess.run(search, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert metrics(storage) == undisturbed
