"""A commit that the server carries out after its worker took the connection for broken.

The worker repeats the transaction while the first is still under way, for example because the
server waits for its standby. Both together must do what one does.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from indian_tune.ledger import ArmPlan, Ledger, Phase, State
from indian_tune.ledger.leases import Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import PostgresServer

pytestmark = pytest.mark.postgres

ARMS = [ArmPlan("indian", "indian", 3)]


class LateLedger(Ledger):
    """Commits when it is told to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.at_commit, self.commit = threading.Event(), threading.Event()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with super()._writing() as connection:
            yield connection
            self.at_commit.set()
            assert self.commit.wait(60)


def repeated(ledger: Ledger, do: Callable[[Ledger], Any]) -> list[Any]:
    """Do something, and again before the first is committed; return both answers."""
    waits = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with LateLedger.open(ledger.url) as late, ThreadPoolExecutor(2) as pool:
        first = pool.submit(do, late)
        assert late.at_commit.wait(60)
        again = pool.submit(do, ledger)
        with ledger._engine.connect() as looking:
            while not again.done() and not looking.scalar(waits):
                looking.rollback()
        late.commit.set()
        return [first.result(60), again.result(60)]


@pytest.fixture
def ledger(postgres: PostgresServer) -> Iterator[Ledger]:
    with Ledger.open(postgres.new_database()) as opened:
        opened.register("study", {"name": "study"}, "hash", ARMS)
        yield opened


def join(ledger: Ledger) -> None:
    ledger.join(1, "worker", host="here", pid=1, started="0", device="cpu")


def test_a_claim_takes_one_trial(ledger: Ledger) -> None:
    join(ledger)
    demand = Demand(1, Phase.TUNE)
    first, again = repeated(ledger, lambda each: each._claim(demand, "worker", "token"))
    assert first.trial.id == again.trial.id
    states = [trial.state for trial in ledger.trials(1)]
    assert states.count(State.RUNNING) == 1


def test_a_worker_joins_once(ledger: Ledger) -> None:
    assert repeated(ledger, join) == [None, None]
    assert [worker.id for worker in ledger.workers(1)] == ["worker"]


def test_claims_about_other_runs_are_registered_once(ledger: Ledger) -> None:
    first, again = repeated(ledger, lambda each: each.register_claims("digest", {"a": 1}))
    assert first == again


def test_a_study_is_extended_once(ledger: Ledger) -> None:
    first, again = repeated(ledger, lambda each: each._extend(1, 2, {}, "token"))
    assert first == again == {"indian": 5}


def test_an_epoch_and_an_outcome_are_recorded_once(ledger: Ledger) -> None:
    join(ledger)
    lease = ledger.claim(1, Phase.TUNE, "worker")
    assert lease is not None
    ledger.begin(lease, {"gamma0": 0.1}, 1, seeds=[0], epochs=1, provenance={})
    repeated(ledger, lambda each: each.finish(lease, State.COMPLETE, 0.5))
    assert ledger.trial(lease.trial.id).value == 0.5
