"""A disk without room for a checkpoint: one sentence, and the run goes on from the one before."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.errors import CheckpointError
from indian_tune.ledger import LedgerReader, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.settings import WorkerSettings
    from tests.engines.conftest import Metrics


@pytest.mark.parametrize("room_for", [0, 1, 5])
def test_a_search_without_room_for_checkpoints_ends_and_goes_on_later(
    room_for: int,
    storage: str,
    tiny: dict[str, Any],
    register: Callable[..., object],
    settings_for: Callable[..., WorkerSettings],
    metrics: Callable[..., Metrics],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # After every epoch.
    for limit in ("LEAST_CHECKPOINT_SECONDS", "MOST_CHECKPOINT_SECONDS"):
        monkeypatch.setattr(f"indian_tune.engines.trials_in_hand.{limit}", 0.0)
    undisturbed = storage.replace("study.db", "undisturbed.db")
    for database in (undisturbed, storage):
        register(database, tiny)
    InlineEngine(settings_for(undisturbed)).run(Interrupt(), lambda: None)
    sync, room = os.fsync, room_for

    def full(descriptor: int) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CheckpointError, match=r"No space left on device\. Make room or"):
            InlineEngine(settings_for(storage)).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        assert ledger.integrity_errors() == []
        # Nobody is blamed, and nobody has to wait for the trial in hand.
        assert not ledger.trials(study.id, states=(State.FAILED,))
        assert all(worker.left_at is not None for worker in ledger.workers(study.id))
    InlineEngine(settings_for(storage)).run(Interrupt(), lambda: None)
    assert metrics(storage) == metrics(undisturbed)
