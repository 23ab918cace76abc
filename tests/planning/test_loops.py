"""What a study with a loop of one's own costs: its epochs are timed, in a bounded time."""

from __future__ import annotations

import math
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import indian_tune
from indian_tune import Loop, Study
from indian_tune.planning import timing
from indian_tune.planning.plan import OWN_LOOP
from indian_tune.service.studies import find_study

if TYPE_CHECKING:
    from indian_tune.training import LoopRun

LONG = 0.05


def train(run: LoopRun) -> None:
    assert run.config
    for _ in run.epochs():
        time.sleep(LONG)
        run.report(train_loss=0.5, error=0.25)


def study() -> Study:
    sections: dict[str, Any] = {
        "protocol": {"epochs": 4, "confirm_seeds": 2},
        "search": {"trials": 3, "sampler": "random"},
    }
    return Study("small", ["sgd", "adam"], lambda: Loop(train, "points", "line", 2), **sections)


@pytest.mark.slow
def test_epochs_of_a_loop_in_hand_are_timed_in_workers() -> None:
    plan = indian_tune.plan(study(), workers=2)
    assert plan.estimate is not None
    assert {cost.work.arm for cost in plan.estimate.costs} == {"sgd", "adam"}
    assert all(cost.epoch_seconds >= LONG for cost in plan.estimate.costs)
    epochs = 2 * (3 + 2) * 4
    assert plan.estimate.device_seconds >= epochs * LONG
    cost = plan.as_dict()["cost"]
    assert cost["timed"]
    assert {speed["step_seconds"] for speeds in cost["speeds"].values() for speed in speeds} == {
        None
    }


def test_the_steps_of_a_loop_are_not_known() -> None:
    plan = indian_tune.plan(study(), timing=False)
    told = plan.as_dict()
    assert told["total"] == {"runs": 10, "epochs": 40, "steps": None}
    assert {work["steps_per_epoch"] for work in told["work"]} == {None}
    assert set(told["images"].values()) == {None}
    shown = str(plan)
    assert "All: 10 runs, 40 epochs." in shown
    assert re.search(r"sgd +3 +4 +12 +–\n", shown)


def test_a_loop_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LOOP_SECONDS", 0.2)
    spec = find_study(study()).spec
    never = threading.Event()

    def hang(run: LoopRun) -> None:
        for _ in run.epochs():
            never.wait()

    kind = timing.kind_of(spec, "sgd")
    speed = timing._loop_speed(spec, Loop(hang, "points", "line", 2), kind, "cpu")
    never.set()
    assert speed.epoch_seconds == math.inf
    assert "\n" not in OWN_LOOP
