"""The attack itself: what it does is a function of its seed, and what is wrong is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from indian_tune.ledger import State
from tests.conftest import measured
from tests.night.faults.checks import (
    Record,
    wrong_end,
    wrong_epochs,
    wrong_exit,
    wrong_status,
)
from tests.night.faults.kinds import KINDS
from tests.night.faults.rounds import Fault, Plan, Round
from tests.night.faults.study import undisturbed
from tests.relay import Relay

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import PostgresServer

RUN = ("sgd", "tune", 0, 7)
TRIAL = RUN[:3]
DONE = Record(
    {TRIAL: ({"gamma0": 0.1}, State.COMPLETE, 0.5)},
    {RUN: [measured(1), measured(2, *[0.25] * 6)]},
    frozen=True,
)


def test_a_plan_is_a_function_of_its_seed_and_every_kind_is_drawn() -> None:
    plans = [Plan.draw(3, number, postgresql=True) for number in range(1000)]
    assert plans == [Plan.draw(3, number, postgresql=True) for number in range(1000)]
    assert {fault.kind for plan in plans for fault in plan.faults} == set(KINDS)
    for plan in plans:
        places = {plan.engine, plan.database}
        assert all(not KINDS[f.kind].on or KINDS[f.kind].on & places for f in plan.faults)
    assert {Plan.draw(3, n, postgresql=False).database for n in range(50)} == {"sqlite"}


def test_what_is_lost_doubled_or_false_is_seen() -> None:
    def wrong(record: Record, before: Record = DONE) -> str:
        return "\n".join(wrong_epochs(record, before, DONE, alike=True))

    first, second = DONE.epochs[RUN]
    assert wrong(DONE) == ""
    assert wrong(replace(DONE, epochs={RUN: [first]}), before=Record({}, {})) == ""
    assert "lost or changed: epochs" in wrong(replace(DONE, epochs={RUN: [first]}))
    assert "not those of the undisturbed" in wrong(
        replace(DONE, epochs={RUN: [first, measured(2, *[0.26] * 6)]}), before=Record({}, {})
    )
    assert "are [1, 2, 2]" in wrong(replace(DONE, epochs={RUN: [first, second, second]}))
    assert "lost: trial" in wrong(replace(DONE, trials={}))
    assert "doubled: trial" in wrong(replace(DONE, twice=("trial sgd",)))
    other = {TRIAL: (None, State.COMPLETE, 0.4)}
    assert "was complete 0.5" in wrong(replace(DONE, trials=other))


def test_an_exit_status_that_is_not_so_is_seen() -> None:
    again = "indian-tune search x.toml"
    broken = replace(DONE, trials={TRIAL: (None, State.FAILED, None)})
    left = replace(DONE, trials={TRIAL: (None, State.WAITING, None)})

    def wrong(status: int, record: Record, log: str = "", *, stopped: bool = False) -> bool:
        return bool(wrong_exit(status, record, log, stopped=stopped))

    assert not wrong(0, DONE)
    assert not wrong(1, broken, again)
    assert not wrong(130, left, stopped=True)
    assert wrong(0, broken)
    assert wrong(0, left)
    assert wrong(0, replace(DONE, frozen=False))
    assert wrong(1, left)
    assert wrong(130, left)
    away = "Error: database postgresql://host/x: connection timeout expired"
    assert not wrong(2, left, away)
    assert wrong(2, left, f"x: starting 2 workers\n{away}")
    tried = (
        "Trying the study's own code …\nError: user code ended this process early, with os._exit(3)"
    )
    assert not wrong(1, left, tried)
    ended = "Error: user code ended this process early: run the same command again"
    assert not wrong(1, left, f"x: starting in this process\n{ended}")
    assert wrong(1, left, f"{tried}\nx: starting 2 workers")
    assert wrong(3, left, f"{tried}\nx: starting 2 workers")
    assert wrong(1, left, f"{again}\nTraceback (most recent call last):")


def test_a_status_that_is_not_so_is_seen() -> None:
    shown: dict[str, Any] = {
        "finished": True,
        "failed": [],
        "arms": [{"arm": "sgd", "tune": {"states": {"complete": 1}}, "confirm": None}],
    }
    assert wrong_status(shown, DONE) == []
    assert wrong_status({**shown, "finished": False}, DONE)
    assert wrong_status({**shown, "failed": ["sgd/0"]}, DONE)
    assert wrong_status(shown, replace(DONE, trials={TRIAL: (None, State.PRUNED, 0.5)}))


@pytest.mark.slow
@pytest.mark.night
@pytest.mark.postgres
def test_a_short_attack_finds_nothing_and_what_is_then_falsified_is_found(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    relay = Relay(postgres.new_database())
    common: dict[str, Any] = {"seed": 0, "lease": 60.0, "step": 0.005}
    plans = [
        Plan(
            number=0,
            shape="plain",
            engine="optuna",
            database="sqlite",
            workers=1,
            faults=(Fault("kill-worker", 4, True, 0.0), Fault("exit-hard", 30, True, 0.0)),
            **common,
        ),
        Plan(
            number=1,
            shape="plain",
            engine="inline",
            database="postgresql",
            workers=1,
            faults=(Fault("exception", 2, True, 0.0), Fault("database-cut", 10, True, 0.0)),
            **common,
        ),
    ]
    for plan in plans:
        folder = tmp_path / str(plan.number)
        outcome = Round(plan, folder, postgres, relay).run()
        assert outcome.violations == []
        assert outcome.injected == [fault.kind for fault in plan.faults]
        assert json.loads((folder / "plan.json").read_text())["number"] == plan.number
    relay.close()
    storage = f"sqlite:///{tmp_path / '0/study.db'}"
    engine = sa.create_engine(storage)
    for statement, seen in (
        ("UPDATE trial_values SET value = 0.125 WHERE trial_id = 1", "0.125 in Optuna"),
        ("UPDATE trials SET state = 'RUNNING' WHERE trial_id = 2", "as running"),
        ("DELETE FROM ledger_epoch WHERE run_id = 1 AND epoch = 4", "not those of the undisturbed"),
        ("UPDATE ledger_trial SET state = 'waiting' WHERE id = 3", "1 trials are open"),
    ):
        with engine.begin() as connection:
            assert connection.execute(sa.text(statement)).rowcount == 1
        wrong = wrong_end(storage, "plain", undisturbed("plain"), alike=True)
        assert any(seen in each for each in wrong), wrong
    engine.dispose()
