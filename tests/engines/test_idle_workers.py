"""How often a worker that can claim nothing asks the database."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from indian_tune.engines import worker
from indian_tune.ledger import Phase


class Waiting:
    """A worker on a virtual clock, which others keep from claiming a trial.

    Args:
        until: when the search ends, in seconds; the study is done 20 seconds later.
        stopped: when the worker is asked to stop.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, until: float = 60.0, stopped: float = 1e9
    ) -> None:
        self.now, self.until, self.stopped = 0.0, until, stopped
        self.asked: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(worker, "time", clock)
        monkeypatch.setattr(worker._Worker, "_fill", lambda _: self.asked.append(self.now))
        made: Any = worker._Worker(
            self,  # type: ignore[arg-type]
            MagicMock(),
            MagicMock(),
            MagicMock(),
            MagicMock(),
            lambda: self.now >= self.stopped,
            MagicMock(),
            None,
            one_by_one=False,
        )
        made.loop()

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def done(self) -> bool:
        return self.now >= self.until + 20

    @property
    def asked_for(self) -> Phase:
        return Phase.TUNE if self.now < self.until else Phase.CONFIRM


def test_a_worker_that_waits_long_asks_rarely_and_often_again_in_the_next_phase(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Waiting(monkeypatch).asked
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits[0] == 0.25
    # A share of the time waited, so that a phase does not end late by more.
    assert all(0.25 <= wait <= max(0.25, at / 8) for at, wait in zip(asked, waits, strict=False))
    found = next(n for n, at in enumerate(asked) if at >= 60)
    assert waits[found - 1] == pytest.approx(2)
    assert waits[found] == 0.25
    assert len(asked) < 100


def test_an_idle_worker_stops_when_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Waiting(monkeypatch, stopped=40.3).now <= 40.3 + 0.25
