"""The checker sees what is lost, doubled, open, or done without a lease."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.ledger import leases, slots
from indian_tune.ledger.freezing import FreezingWriter
from tests.simulation.checker import Answer, Rows, read_rows, violations
from tests.simulation.database import CALM, Rates
from tests.simulation.history import History
from tests.simulation.playing import make_template

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Played = tuple[Rows, list[Answer]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("simulation"))


@pytest.fixture(scope="module")
def played(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The rows and answers of a history in which nothing went wrong."""
    history = History(6, template, tmp_path_factory.mktemp("played"), CALM)
    outcome = history.play()
    assert outcome.found == []
    assert not outcome.faults.keys() - {"model", "release"}
    return read_rows(f"sqlite:///{history.path}"), history.answers


def one(rows: Rows, table: str, **wanted: Any) -> dict[str, Any]:
    return next(row for row in rows[table] if all(row[k] == v for k, v in wanted.items()))


def lose_an_epoch(rows: Rows) -> None:
    rows["epoch"].pop()


def lose_a_sealed_epoch(rows: Rows) -> None:
    rows["sealed_epoch"].pop()


def double_an_epoch(rows: Rows) -> None:
    rows["epoch"].append(rows["epoch"][0])


def double_a_trial(rows: Rows) -> None:
    rows["trial"].append({**one(rows, "trial", phase="tune"), "id": 999})


def lose_a_trial(rows: Rows) -> None:
    rows["trial"].remove(one(rows, "trial", phase="tune"))


def leave_a_trial_open(rows: Rows) -> None:
    one(rows, "trial", phase="confirm")["state"] = "waiting"


def leave_a_lease(rows: Rows) -> None:
    rows["trial"][0]["lease_expires_at"] = "2026-01-01"


def fail_at_the_first_attempt(rows: Rows) -> None:
    rows["trial"][0]["state"] = "failed"


def end_before_the_runs(rows: Rows) -> None:
    one(rows, "run", state="complete")["state"] = "running"


def freeze_twice(rows: Rows) -> None:
    frozen = copy.deepcopy(one(rows, "event", kind="frozen"))
    frozen["data"]["freezing"] += 1
    rows["event"].append({**frozen, "id": 9999})


def freeze_another(rows: Rows) -> None:
    last = [event for event in rows["event"] if event["kind"] == "frozen"][-1]
    trials = last["data"]["winners"]
    name = next(name for name, winner in trials.items() if winner["trial"] is not None)
    trials[name]["trial"] += 1


def change_a_metric(rows: Rows) -> None:
    rows["epoch"][0]["metrics"] = {**rows["epoch"][0]["metrics"], "train_loss": 9.0}


def show_a_trial_twice(rows: Rows) -> None:
    rows["slots"] = [{"slot": "1"}, {"slot": "1"}]


@pytest.mark.parametrize(
    "falsify",
    [
        lose_an_epoch,
        lose_a_sealed_epoch,
        double_an_epoch,
        double_a_trial,
        lose_a_trial,
        leave_a_trial_open,
        leave_a_lease,
        fail_at_the_first_attempt,
        end_before_the_runs,
        freeze_twice,
        freeze_another,
        change_a_metric,
        show_a_trial_twice,
    ],
)
def test_what_is_falsified_is_seen(falsify: Callable[[Rows], None], played: Played) -> None:
    rows, answers = copy.deepcopy(played[0]), played[1]
    assert violations(rows, answers) == []
    falsify(rows)
    assert violations(rows, answers) != []


def test_whoever_reports_after_another_was_given_the_trial_is_seen(played: Played) -> None:
    rows, answers = played
    late = next(each for each in answers if each.what == "finished")
    stolen = Answer("claimed", "thief", late.trial, late.asked - 0.4, late.asked - 0.2)
    before = [each for each in answers if each is not late]
    assert violations(rows, [*before, replace(stolen), late]) != []
    # One that was still under way when the other got it may have been first.
    during = replace(stolen, told=late.told + 1)
    assert violations(rows, [*before, during, late]) == []


def ignore_the_token(patch: pytest.MonkeyPatch) -> None:
    """Let a worker write whose lease was taken over."""
    patch.setattr(leases, "write_under", lambda lease, connection, **values: None)


def forget_what_was_granted(patch: pytest.MonkeyPatch) -> None:
    """Claim again when the answer to a claim was lost; the first trial stays with the worker."""
    patch.setattr(leases, "granted", lambda *_: None)


def freeze_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(slots, "is_frozen", lambda *_: False)


def choose_the_second_best(patch: pytest.MonkeyPatch) -> None:
    freeze = FreezingWriter.freeze

    def other(self: Any, study: int, winners: Any, *args: Any, **options: Any) -> bool:
        changed = [
            replace(w, trial=replace(w.trial, index=w.trial.index + 1)) if w.trial else w
            for w in winners
        ]
        return freeze(self, study, changed, *args, **options)

    patch.setattr(FreezingWriter, "freeze", other)


USUAL = ((5, 6, 2, 8, 1, 9, 10, 11, 12), Rates())
# The fault shows only where many claims are answered by an error.
LOST_ANSWERS = ((31, 13, 14, 15, 16), Rates(commit=0.45))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("plant", "histories"),
    [
        (ignore_the_token, USUAL),
        (forget_what_was_granted, LOST_ANSWERS),
        pytest.param(freeze_again, USUAL, marks=pytest.mark.night),
        (choose_the_second_best, USUAL),
    ],
)
def test_a_fault_of_the_ledger_is_found_within_a_few_histories(
    plant: Callable[[pytest.MonkeyPatch], None],
    histories: tuple[tuple[int, ...], Rates],
    template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    seeds, rates = histories
    assert any(History(seed, template, tmp_path, rates).play().found for seed in seeds)
