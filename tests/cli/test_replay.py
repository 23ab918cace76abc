"""Searches on a virtual clock, whose learning curves are known."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

import indian_tune
from indian_tune.engines import CurveTable, Interrupt, SimulatedEngine, VirtualClock
from indian_tune.ledger import Ledger, LedgerReader, Phase, State
from indian_tune.study.controller import Controller
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.in_memory import InMemoryProjection
from indian_tune.study.registered_study import RegisteredStudy
from indian_tune.study.registration import register
from tests.conftest import TINY, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from indian_tune.study.assignment import Assignment
    from indian_tune.training import EpochRecord
    from tests.cli.conftest import Ended

EPOCHS = 4


def error_at(config: dict[str, Any], epoch: int) -> float:
    """A curve that falls to a level which is best at γ0 = 0.03."""
    rate = float(config["gamma0" if "gamma0" in config else "lr"])
    return 0.2 + 3 * abs(rate - 0.03) + 0.3 / epoch


def curves(assignment: Assignment) -> Sequence[Sequence[EpochRecord]]:
    """Return curves of runs that are worse and slower in every further search."""
    config, replicate = dict(assignment.config), assignment.lease.trial.replicate
    return [
        [
            measured(epoch, e, 1 - e, e, 1 - e, 0.5, 0.5, seconds=10.0 * (1 + replicate))
            for epoch in range(1, assignment.epochs + 1)
            for e in (error_at(config, epoch) + 0.25 * replicate,)
        ]
        for _ in assignment.runs
    ]


def study(**search: Any) -> dict[str, Any]:
    raw = copy.deepcopy(TINY)
    space = {"gamma0": {"low": 0.001, "high": 0.1, "log": True}}
    raw["arms"] = [{"name": "indian", "optimizer": "indian", "space": space}]
    raw["protocol"] |= {"epochs": EPOCHS, "tune_epochs": EPOCHS, "tune_seeds": 2}
    raw["search"] = {"trials": 12, "sampler": "random", "seed": 7, **search}
    return raw


def search(storage: str, raw: dict[str, Any], *, workers: int = 1, stop_after: int = 0) -> float:
    """Search on a virtual clock; return the seconds that it took on it."""
    clock = VirtualClock()
    interrupt = Interrupt()
    epochs = 0

    def tick() -> None:
        nonlocal epochs
        epochs += 1
        interrupt.requests = int(epochs == stop_after)

    with Ledger.open(storage, clock=clock) as ledger:
        registered = register(ledger, parse_study(raw, source="study.toml"))
        projection = InMemoryProjection.beside(registered)
        projection.create()
        ledger.join(registered.id, "w", host="here", pid=1, started="0", device="simulated")
        controller = Controller(registered, "w", until=Phase.TUNE, projection=projection)
        SimulatedEngine(controller, curves, workers, clock).run(interrupt, tick)
    return clock.seconds


def test_workers_share_the_virtual_time(tmp_path: Path) -> None:
    # 12 trials of 4 epochs of two runs of 10 s.
    assert search(f"sqlite:///{tmp_path / 'one.db'}", study()) == 960
    assert search(f"sqlite:///{tmp_path / 'four.db'}", study(), workers=4) == 240
    assert search(f"sqlite:///{tmp_path / 'five.db'}", study(), workers=5) == 240
    assert search(f"sqlite:///{tmp_path / 'many.db'}", study(), workers=64) == 80


def test_the_record_is_that_of_a_search_and_times_are_virtual(storage: str) -> None:
    search(storage, study(), workers=4)
    with LedgerReader.open(storage) as ledger:
        record = ledger.study("tiny")
        trials = ledger.trials(record.id)
        assert {trial.state for trial in trials} == {State.COMPLETE}
        for trial in trials:
            assert trial.value == pytest.approx(error_at(dict(trial.config or {}), EPOCHS))
            assert trial.started_at is not None
            assert trial.finished_at is not None
            assert (trial.finished_at - trial.started_at).total_seconds() == 80
        assert {run.epochs_done for run in ledger.study_runs(record.id)} == {EPOCHS}


def test_an_interrupted_search_gives_its_trials_back(storage: str) -> None:
    search(storage, study(), workers=4, stop_after=6)
    with LedgerReader.open(storage) as ledger:
        states = {trial.state for trial in ledger.trials(ledger.study("tiny").id)}
    assert states == {State.WAITING}


def test_a_generation_is_waited_for_in_virtual_time(storage: str) -> None:
    # Three generations of four, each as long as a trial, whatever more workers there are.
    assert search(storage, study(sampler="tpe", generation=4), workers=64) == 240


def table_of(storage: str) -> CurveTable:
    with LedgerReader.open(storage) as ledger:
        (table,) = CurveTable.of(RegisteredStudy.open(ledger, "tiny"))
    return table


def test_a_configuration_is_answered_by_its_nearest_neighbour(storage: str) -> None:
    search(storage, study())
    table = table_of(storage)
    with LedgerReader.open(storage) as ledger:
        configs = [dict(t.config or {}) for t in ledger.trials(ledger.study("tiny").id)]
    for config in configs:
        row, distance = table.nearest("indian", config)
        assert (row.config, distance) == (config, 0.0)
        # A quarter per cent away on a logarithmic range of two decades.
        row, distance = table.nearest("indian", {**config, "gamma0": config["gamma0"] * 1.0025})
        assert row.config == config
        assert distance == pytest.approx(0.000542, rel=1e-2)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (State.WAITING, r"1 tune trial of 12 not finished; run .* until it ends"),
        (State.FAILED, r"1 tune trial of 12 failed; run .* with --retry-failed"),
        (State.PRUNED, r"1 tune trial of 12 stopped early .*search.pruner = 'none'"),
    ],
)
def test_an_incomplete_table_is_refused_with_the_fix(
    state: State, message: str, storage: str, command: Callable[..., Ended]
) -> None:
    search(storage, study())
    with Ledger.open(storage) as ledger, ledger._writing() as connection:
        connection.exec_driver_sql(f"UPDATE ledger_trial SET state = '{state}' WHERE id = 3")
    ended = command("replay", "tiny", "--storage", storage)
    assert ended.status == 2
    assert "the table of study 'tiny' is incomplete: " in ended.err
    assert re.search(message, " ".join(ended.err.split()))


def test_methods_are_ranked_with_intervals(storage: str, command: Callable[..., Ended]) -> None:
    search(storage, study(trials=60))
    words = ("replay", "tiny", "--storage", storage, "--trials", "12", "--seeds", "4", "--json")
    ended = command(
        *words, "--sampler", "tpe", "--sampler", "random", "--pruner", "none", "--pruner", "median"
    )
    assert ended.status == 0, ended.err
    found = json.loads(ended.out)
    methods = found["methods"]
    assert found["table"] == {"indian": 60}
    assert {(m["sampler"], m["pruner"]) for m in methods} == {
        (s, p) for s in ("tpe", "random") for p in ("none", "median")
    }
    means = [m["regret"]["estimate"] for m in methods]
    assert means == sorted(means)
    for method in methods:
        regrets = [each["regret"] for each in method["searches"]]
        assert len(regrets) == 4
        assert min(regrets) >= 0
        assert method["regret"]["estimate"] == pytest.approx(sum(regrets) / 4)
        assert method["regret"]["low"] <= method["regret"]["estimate"] <= method["regret"]["high"]
        # 12 trials of two runs of four epochs; a pruner saves some.
        whole = method["pruner"] == "none"
        assert (method["epochs"] == 96) == whole
        assert method["epochs"] <= 96
    # The same again, to the last bit: the clock is virtual, and every search has its seed.
    again = command(*words, "--sampler", "tpe", "--pruner", "median")
    (alone,) = json.loads(again.out)["methods"]
    assert alone["searches"] in [method["searches"] for method in methods]


def test_python_prints_and_returns_what_the_command_shows(
    storage: str, command: Callable[..., Ended]
) -> None:
    search(storage, study())
    words = ("--sampler", "random", "--sampler", "qmc", "--seeds", "2", "--trials", "4")
    ended = command("replay", "tiny", "--storage", storage, *words)
    assert ended.status == 0, ended.err
    text = " ".join(ended.out.split())
    assert "random none" in text
    assert "For a configuration that is not in the table, the nearest one is used" in text
    found = indian_tune.replay(storage=storage, samplers=["random", "qmc"], seeds=2, trials=4)
    assert ended.out == f"{found}\n"
    assert repr(found) == "<Replay 'tiny': 2 methods, 2 seeds>"
    ranking, searches = found.ranking, found.frame()
    assert list(ranking["regret"]) == [method.regret.estimate for method in found.methods]
    second = found.methods[1].worse_than(found.methods[0])
    bounds = ranking[["worse_than_first", "worse_than_first_low", "worse_than_first_high"]]
    assert bounds.iloc[0].isna().all()
    assert list(bounds.iloc[1]) == [second.estimate, second.low, second.high]
    means = searches.groupby("sampler")["regret"].mean()
    assert list(means[ranking["sampler"]]) == pytest.approx(list(ranking["regret"]))
    assert list(searches["seed"]) == [0, 1, 0, 1]


def test_searches_on_different_validation_parts_share_no_table(storage: str) -> None:
    raw = study(trials=4, replicates=3)
    raw["problem"]["split"] = "replicate"
    raw["protocol"]["confirm_seeds"] = 2
    search(storage, raw)
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
        tables = CurveTable.of(RegisteredStudy.open(ledger, "tiny"))
    assert [table.size("indian") for table in tables] == [4, 4, 4]
    for replicate, table in enumerate(tables):
        own = [trial for trial in trials if trial.replicate == replicate]
        assert table.best("indian") == min(trial.value or 1.0 for trial in own)
        assert [table.nearest("indian", dict(t.config or {}))[1] for t in own] == [0.0] * 4
    found = indian_tune.replay(storage=storage, seeds=6)
    assert (found.table, found.tables) == ({"indian": 12}, 3)
    searches = found.frame()
    # 4 trials of 4 epochs of two runs; tables differ by more than the configurations of one.
    assert list(searches["seconds"]) == [320, 640, 960] * 2
    assert searches["regret"].between(0.0, 0.21).all()
    assert "12 in 3 tables, one per search of the study" in " ".join(str(found).split())
