"""The live progress of a search: bars, expected epochs, pace."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from indian_tune.engines import VirtualClock
from indian_tune.ledger import LEASE_SECONDS, Lease, Ledger, Phase, State
from indian_tune.service.progress import (
    BAR_COLUMNS,
    LiveTable,
    Pace,
    SearchProgress,
    epochs_left,
)
from indian_tune.study.file.spec import parse_study
from indian_tune.study.registration import register
from tests.conftest import measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.study import RegisteredStudy

SPEC: dict[str, Any] = {
    "name": "bars",
    "problem": {"dataset": "digits", "model": "nin-small"},
    "protocol": {"epochs": 4, "tune_epochs": 2, "confirm_seeds": 3},
    "search": {"trials": 5, "sampler": "random"},
    "arms": [{"name": "one", "optimizer": "sgd"}, {"name": "two", "optimizer": "adam"}],
}
# 5 trials of 2 epochs, then 3 fresh seeds of 4.
PLANNED = 5 * 2 + 3 * 4


@pytest.fixture
def study(storage: str) -> Iterator[RegisteredStudy[Ledger]]:
    with Ledger.open(storage) as ledger:
        yield register(ledger, parse_study(SPEC, source="test"))


@pytest.mark.parametrize(
    ("changes", "heading"),
    [
        ({}, ["tune", "error %"]),
        ({"search": {**SPEC["search"], "replicates": 2}}, ["best tune", "error %"]),
        (
            {"protocol": {**SPEC["protocol"], "objective": "validation_loss"}},
            ["best", "validation loss"],
        ),
    ],
)
def test_the_best_score_has_the_heading_of_the_ranking_where_it_is_the_same(
    storage: str, changes: dict[str, Any], heading: list[str]
) -> None:
    with Ledger.open(storage) as ledger:
        study = register(ledger, parse_study({**SPEC, **changes}, source="test"))
        first, second = (" ".join(line.split()) for line in shown(study, None).splitlines()[:2])
    assert [first, second] == [heading[0], f"arm tune {heading[1]} fresh seeds epochs"]


def begin(study: RegisteredStudy[Ledger]) -> Lease:
    ledger = study.ledger
    ledger.join(study.id, "w", host="here", pid=1, started="0", device="cpu")
    lease = ledger.claim(study.id, Phase.TUNE, "w")
    assert lease is not None
    ledger.begin(lease, {}, 0, seeds=(0,), epochs=2, provenance={})
    return lease


def shown(study: RegisteredStudy[Ledger], width: int | None) -> str:
    table, _ = LiveTable(study).look(study.ledger.progress(study.id), width)
    # Without colours, what is not done yet of a bar is left blank.
    console = Console(
        file=io.StringIO(),
        width=width or 80,
        record=True,
        force_terminal=True,
        color_system="standard",
    )
    console.print(table)
    return console.export_text()


def test_a_bar_per_arm_fills_the_width_of_the_terminal(study: RegisteredStudy[Ledger]) -> None:
    for width in (80, 100):
        lines = shown(study, width).splitlines()
        assert max(map(len, lines)) == width
        bars = [line.count("━") for line in lines if line.startswith(("one", "two"))]
        assert len(bars) == 2
        assert min(bars) > width / 4


@pytest.mark.parametrize("width", [None, 30, BAR_COLUMNS - 1])
def test_no_bars_in_a_log_or_a_narrow_terminal(
    study: RegisteredStudy[Ledger], width: int | None
) -> None:
    assert "━" not in shown(study, width)


def test_expected_epochs_count_no_epoch_twice(study: RegisteredStudy[Ledger]) -> None:
    ledger = study.ledger

    def left() -> dict[str, int]:
        return epochs_left(study.spec, ledger.progress(study.id), levels_frozen=False)

    assert left() == {"one": PLANNED, "two": PLANNED}
    lease = begin(study)
    (arm,) = [p.arm.name for p in ledger.progress(study.id) if p.counts.get(State.RUNNING)]
    other = {"one": "two", "two": "one"}[arm]
    # One epoch of a running trial is done: the arm needs one less.
    parts = [
        part if part.arm.name == other else replace(part, epochs_done=1, epochs_open=1)
        for part in ledger.progress(study.id)
    ]
    assert epochs_left(study.spec, parts, levels_frozen=False)[arm] == PLANNED - 1
    # A pruned trial needs nothing more, and frees nothing that others need.
    ledger.finish(lease, State.PRUNED, 0.5, None)
    assert left() == {arm: PLANNED - 2, other: PLANNED}
    second = ledger.claim(study.id, Phase.TUNE, "w")
    assert second is not None
    ledger.begin(second, {}, 0, seeds=(0,), epochs=2, provenance={})
    (run,) = ledger.runs(second.trial.id)
    assert ledger.record_pack([(second, {run.id: measured(1)})]) == []
    of = next(p.arm.name for p in ledger.progress(study.id) if p.counts.get(State.RUNNING))
    before = {arm: PLANNED - 2, other: PLANNED}
    assert left() == before | {of: before[of] - 1}


def test_the_pace_is_that_of_the_last_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(100.0, 10.0)
    monkeypatch.setattr("indian_tune.service.progress.time.monotonic", lambda: next(clock))
    pace = Pace()
    assert pace.summary(0, 60) == "0 of 60 epochs, 10 s elapsed"
    # Nothing is said about the rate before two epochs have been seen.
    assert pace.summary(10, 50) == "10 of 60 epochs, 20 s elapsed"
    assert pace.summary(30, 30) == ("30 of 60 epochs, 2.0 epochs/s, 30 s elapsed, about 15 s left")
    assert pace.summary(60, 0) == "60 epochs, 40 s elapsed"


def test_who_only_looks_is_not_told_for_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Pace(elapsed=False).summary(3, 0) == "3 epochs"


def test_no_more_finalists_are_expected_than_a_search_has_trials(storage: str) -> None:
    raw = {**SPEC, "protocol": {**SPEC["protocol"], "finalists": 99}}
    with Ledger.open(storage) as ledger:
        study = register(ledger, parse_study(raw, source="test"))
        left = epochs_left(study.spec, ledger.progress(study.id), levels_frozen=False)
    final = len(study.spec.protocol.final_seeds_of(0, 1)) * study.spec.protocol.tuning_epochs
    assert final > 0
    assert left == dict.fromkeys(("one", "two"), PLANNED + 5 * final)


def test_a_worker_that_falls_silent_is_told_once_whether_or_not_it_holds_a_trial(
    storage: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    with Ledger.open(storage, clock=clock) as ledger:
        study = register(ledger, parse_study(SPEC, source="test"))
        ledger.join(study.id, "before", host="here", pid=1, started="0", device="cpu")
        clock.seconds += 1.0
        progress = SearchProgress(Console(file=io.StringIO()), study)
        ledger.join(study.id, "idle", host="here", pid=2, started="0", device="cpu")
        begin(study)
        clock.seconds += 2 * LEASE_SECONDS
        progress.show()
        progress.show()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith("worker idle on here has not reported since")
    assert told[0].endswith("another worker takes over what it held")
    assert told[1].endswith("another worker takes over one/0")
