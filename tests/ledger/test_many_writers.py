"""Sixty-four workers write one PostgreSQL database at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from indian_tune.ledger import ArmPlan, Ledger, Phase, State
from tests.conftest import measured
from tests.reports import record as record_one

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

WRITERS, TRIALS, EPOCHS = 64, 256, 3


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_sixty_four_writers_lose_and_double_nothing(postgres: PostgresServer) -> None:
    address = postgres.new_database()
    with Ledger.open(address) as ledger:
        study = ledger.register("study", {}, "hash", [ArmPlan("indian", "indian", TRIALS)])
    together = threading.Barrier(WRITERS)
    connections: list[int] = []

    def work(number: int) -> list[int]:
        # Each with connections of its own, as processes have them.
        with Ledger.open(address, patient=True) as ledger:
            name = f"worker-{number}"
            ledger.join(study.id, name, host="here", pid=number, started="0", device="cpu")
            together.wait()
            done = []
            while lease := ledger.claim(study.id, Phase.TUNE, name):
                trial = lease.trial.id
                (run,) = ledger.begin(
                    lease, {"gamma0": 0.1}, trial, seeds=(0,), epochs=EPOCHS, provenance={}
                )
                for epoch in range(1, EPOCHS + 1):
                    ledger.heartbeat(name)
                    record_one(ledger, lease, {run.id: measured(epoch, *[trial / 1000] * 6)})
                ledger.finish(lease, State.COMPLETE, trial / 1000)
                done.append(trial)
            if number == 0:
                with ledger._engine.connect() as connection:
                    query = (
                        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    )
                    connections.append(connection.scalar(sa.text(query)) or 0)
            ledger.leave(name)
            return done

    with ThreadPoolExecutor(WRITERS) as pool:
        finished = [trial for done in pool.map(work, range(WRITERS)) for trial in done]
    with Ledger.open(address) as ledger:
        trials = ledger.trials(study.id)
        assert sorted(finished) == sorted(trial.id for trial in trials)
        assert {trial.state for trial in trials} == {State.COMPLETE}
        assert {trial.attempts for trial in trials} == {1}
        for trial in trials:
            (run,) = ledger.runs(trial.id)
            records = ledger.epochs(run.id)
            assert [record.epoch for record in records] == [1, 2, 3]
            assert {value for r in records for value in r.metrics.values()} == {trial.id / 1000}
    # One kept by each and at most one more for a moment, and one of the test's.
    assert connections
    assert connections[0] <= 2 * WRITERS + 1
