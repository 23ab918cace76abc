"""A study with real training on PostgreSQL goes on when the server is cut off under its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.ledger import LedgerReader
from tests.engines.test_chaos import assert_sound, search

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.settings import WorkerSettings
    from tests.conftest import PostgresServer
    from tests.engines.conftest import Metrics

RESTARTS = 3
EPOCHS_BETWEEN_RESTARTS = 4


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_workers_wait_for_the_server_and_lose_nothing(
    postgres: PostgresServer,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    settings_for: Callable[..., WorkerSettings],
    metrics: Callable[..., Metrics],
) -> None:
    storage = postgres.new_database()
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        with LedgerReader.open(storage) as ledger:
            study = ledger.study("tiny")
            done = sum(part.epochs_done for part in ledger.progress(study.id))
        if restarts < RESTARTS and done >= EPOCHS_BETWEEN_RESTARTS * (restarts + 1):
            with postgres.down(seconds=1):
                restarts += 1

    search(storage, tiny, [settings_for(storage)] * 2, restart)
    assert restarts == RESTARTS
    assert_sound(storage, {"indian": 2, "sgd": 2, "confirm": 4})
    assert metrics(storage) == undisturbed
