"""A clock that is set back or forward moves no lease of an SQLite file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from indian_tune.ledger import ArmPlan, Ledger, LedgerReader, Phase
from indian_tune.ledger.clock import boot_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR = 3600.0
ARMS = [ArmPlan("indian", "indian", 1)]


class Host:
    """A host whose clock can be set, and on which time passes as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.up, self.boot = 1.8e9, 1000.25, 17
        monkeypatch.setattr("indian_tune.ledger.clock.boot_mark", lambda: self.boot)
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(time, "clock_gettime", lambda _clock: self.up)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    with monkeypatch.context() as patch:
        yield Host(patch)


@pytest.fixture
def claim(storage: str) -> Callable[[], int | None]:
    """Join as a new worker in a new process and claim; return the attempt."""
    count = 0

    def as_new_worker() -> int | None:
        nonlocal count
        count += 1
        with Ledger.open(storage) as ledger:
            study = ledger.register("study", {}, "hash", ARMS)
            ledger.join(study.id, f"{count}", host="here", pid=1, started="0", device="cpu")
            lease = ledger.claim(study.id, Phase.TUNE, f"{count}")
            return None if lease is None else lease.trial.id

    return as_new_worker


def test_a_clock_set_back_does_not_keep_a_dead_workers_trial(
    host: Host, claim: Callable[[], int | None]
) -> None:
    trial = claim()
    host.wait(10)
    host.wall -= 2 * HOUR
    assert claim() is None
    host.wait(51)
    assert claim() == trial


def test_a_clock_set_forward_and_back_again_keeps_nothing_either(
    host: Host, claim: Callable[[], int | None]
) -> None:
    trial = claim()
    host.wall += 24 * HOUR
    # As on a server whose clock is set forward.
    assert claim() == trial
    host.wall -= 24 * HOUR
    host.wait(30)
    assert claim() is None
    host.wait(31)
    assert claim() == trial


def test_a_boot_begins_with_the_clock_that_there_is(
    host: Host, claim: Callable[[], int | None], storage: str
) -> None:
    claim()
    host.boot, host.up = 18, 5.0
    host.wait(HOUR)
    claim()
    with LedgerReader.open(storage) as ledger:
        assert abs(ledger.now().timestamp() - host.wall) < 1


def test_a_file_of_before_is_read_and_its_leases_end(
    host: Host, claim: Callable[[], int | None], storage: str
) -> None:
    trial = claim()
    engine = sa.create_engine(storage)
    with engine.begin() as connection:
        # As every earlier version has left it.
        connection.exec_driver_sql("PRAGMA application_id=0")
        connection.exec_driver_sql("PRAGMA user_version=0")
    engine.dispose()
    host.wait(30)
    with LedgerReader.open(storage) as ledger:
        assert ledger.now().timestamp() == host.wall
    assert claim() is None
    host.wait(32)
    assert claim() == trial


def test_where_the_system_tells_no_boot_the_clock_is_the_hosts(
    host: Host, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indian_tune.ledger.clock.boot_mark", lambda: None)
    with Ledger.open(storage) as ledger:
        ledger.register("study", {}, "hash", ARMS)
        assert ledger.now().timestamp() == host.wall


def test_the_boot_of_this_host_is_known_and_fits_the_header() -> None:
    mark = boot_mark()
    assert mark is not None
    assert 0 < mark < 2**31
