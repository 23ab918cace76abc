from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from indian_tune.errors import (
    IllegalTransitionError,
    InputError,
    LeaseLostError,
    SealedError,
    StorageError,
)
from indian_tune.ledger import (
    ArmPlan,
    Lease,
    Ledger,
    Phase,
    RunRecord,
    State,
    StudyRecord,
    Winner,
)
from indian_tune.ledger import tables as t
from indian_tune.ledger.database import storage_errors
from indian_tune.ledger.frames import epoch_frame, example_frame
from indian_tune.ledger.runs import pack, unpack
from indian_tune.ledger.tables import sealed_epoch
from tests.conftest import measured
from tests.reports import record as record_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.training import EpochRecord

ARMS = [ArmPlan("indian", "indian", 3), ArmPlan("sgd", "sgd", 3)]


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    with Ledger.open(database) as opened:
        yield opened


@pytest.fixture
def study(ledger: Ledger) -> StudyRecord:
    record = ledger.register("study", {"name": "study"}, "hash", ARMS)
    for worker in ("first", "second"):
        ledger.join(record.id, worker, host="here", pid=1, started="0", device="cpu")
    return record


def claim(ledger: Ledger, study: StudyRecord, worker: str = "first") -> Lease:
    lease = ledger.claim(study.id, Phase.TUNE, worker)
    assert lease is not None
    return lease


def begin(ledger: Ledger, lease: Lease, seeds: tuple[int, ...] = (0,)) -> list[RunRecord]:
    return ledger.begin(
        lease, {"gamma0": 0.1}, 1, seeds=seeds, epochs=2, provenance={"device": "cpu"}
    )


def lose(ledger: Ledger, study: StudyRecord, worker: str = "first") -> None:
    """See a worker die."""
    (dead,) = [each for each in ledger.workers(study.id) if each.id == worker]
    ledger.record_lost_worker(dead, [])


def join(ledger: Ledger, study: StudyRecord, worker: str) -> str:
    ledger.join(study.id, worker, host="here", pid=1, started="0", device="cpu")
    return worker


def pass_time(ledger: Ledger, leases: float) -> None:
    """Let so many lease times go by for every worker and every claim."""
    past = leases * ledger.lease
    with ledger._writing() as connection:
        for table, columns in ((t.trial, ("lease_expires_at",)), (t.worker, ("heartbeat_at",))):
            for row in connection.execute(sa.select(table)).mappings().all():
                earlier = {name: row[name] - past for name in columns if row[name] is not None}
                if earlier:
                    connection.execute(
                        sa.update(table).where(table.c.id == row["id"]).values(**earlier)
                    )
        for row in connection.execute(sa.select(t.event)).mappings().all():
            connection.execute(
                sa.update(t.event).where(t.event.c.id == row["id"]).values(at=row["at"] - past)
            )


def record(epoch: int = 1, train_loss: float = 0.5, **changed: Any) -> EpochRecord:
    values = (train_loss, 0.9, 0.6, 0.8, 0.7, 0.75)
    return dataclasses.replace(measured(epoch, *values), step=10 * epoch, **changed)


def test_registration_makes_every_slot_of_the_budget_at_once(
    ledger: Ledger, study: StudyRecord
) -> None:
    trials = ledger.trials(study.id)
    assert [(trial.phase, trial.index, trial.state) for trial in trials] == 2 * [
        (Phase.TUNE, index, State.WAITING) for index in range(3)
    ]
    assert [event.kind for event in ledger.events(study.id)] == ["registered"]


def test_registering_again_changes_nothing(ledger: Ledger, study: StudyRecord) -> None:
    again = ledger.register("study", {"name": "other"}, "other", [ArmPlan("adam", "adam", 9)])
    assert again == study
    assert len(ledger.trials(study.id)) == 6


def test_arms_advance_together(ledger: Ledger, study: StudyRecord) -> None:
    arms = {arm.id: arm.name for arm in ledger.arms(study.id)}
    claimed = [claim(ledger, study).trial for _ in range(6)]
    assert [(arms[trial.arm_id], trial.index) for trial in claimed] == [
        ("indian", 0),
        ("sgd", 0),
        ("indian", 1),
        ("sgd", 1),
        ("indian", 2),
        ("sgd", 2),
    ]
    assert ledger.claim(study.id, Phase.TUNE, "second") is None


def test_an_expired_lease_is_taken_over_and_the_late_report_refused(
    ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "lease", timedelta(seconds=-1))
    late = claim(ledger, study)
    (run,) = begin(ledger, late)
    monkeypatch.undo()
    taken = claim(ledger, study, "second")
    assert taken.trial.id == late.trial.id
    assert (late.again, taken.again) == (False, True)
    assert taken.trial.config == {"gamma0": 0.1}
    with pytest.raises(LeaseLostError, match="another worker took it over"):
        record_one(ledger, late, {run.id: record()})
    with pytest.raises(LeaseLostError):
        ledger.finish(late, State.COMPLETE, 0.1)
    assert ledger.epochs(run.id) == []
    assert ledger.trial(late.trial.id).state is State.RUNNING


def test_a_heartbeat_keeps_a_lease(
    ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "lease", timedelta(seconds=-1))
    first = claim(ledger, study).trial
    monkeypatch.setattr(ledger, "lease", timedelta(seconds=60))
    ledger.heartbeat("first")
    assert claim(ledger, study, "second").trial.id != first.id


def test_the_trials_of_a_worker_that_left_wait_and_are_taken_at_once(
    ledger: Ledger, study: StudyRecord
) -> None:
    first = claim(ledger, study).trial
    assert ledger.leave("first") == 1
    # Nobody works on it, and the record says so.
    trial = ledger.trial(first.id)
    assert (trial.state, trial.attempts, trial.lease_expires_at) == (State.WAITING, 0, None)
    assert ledger.leave("first") == 0
    assert claim(ledger, study, "second").trial.id == first.id


def test_a_trial_that_kills_its_workers_fails_after_its_last_attempt(
    ledger: Ledger, study: StudyRecord
) -> None:
    killer = claim(ledger, study)
    begin(ledger, killer)
    lose(ledger, study)
    for attempt in range(2, ledger.max_attempts + 1):
        victim = join(ledger, study, f"victim {attempt}")
        lease = claim(ledger, study, victim)
        assert (lease.trial.id, lease.trial.attempts) == (killer.trial.id, attempt)
        lose(ledger, study, victim)
    assert claim(ledger, study, "second").trial.id != killer.trial.id
    trial = ledger.trial(killer.trial.id)
    assert (trial.state, trial.reason) == (
        State.FAILED,
        "3 attempts ended with the death of their worker",
    )
    assert [run.state for run in ledger.runs(trial.id)] == [State.FAILED]


def test_an_exception_keeps_its_traceback_and_is_tried_again_until_attempts_end(
    ledger: Ledger, study: StudyRecord
) -> None:
    states = []
    for attempt in range(1, ledger.max_attempts + 1):
        lease = claim(ledger, study)
        runs = begin(ledger, lease)
        text = f"Traceback\nValueError: attempt {attempt}"
        states.append(ledger.fail_attempt(lease, [run.id for run in runs], text))
    assert states == [State.WAITING, State.WAITING, State.FAILED]
    trial = ledger.trials(study.id)[0]
    assert (trial.state, trial.reason) == (State.FAILED, "ValueError: attempt 3")
    (run,) = ledger.runs(trial.id)
    assert run.error == "Traceback\nValueError: attempt 3"
    assert [event.kind for event in ledger.events(study.id)].count("broke") == 3


def test_text_that_no_database_takes_is_stored_escaped(ledger: Ledger, study: StudyRecord) -> None:
    hostile = "a\0b\ud800\U0001f600"
    ledger.join(study.id, "third", host="here", pid=1, started=hostile * 100, device=hostile)
    (third,) = [each for each in ledger.workers(study.id) if each.id == "third"]
    assert third.device == "a\\x00b\\ud800\U0001f600"
    assert len(third.process_started) == 64
    lease = claim(ledger, study)
    runs = ledger.begin(
        lease, {"gamma0": 0.1}, 1, seeds=(0,), epochs=2, provenance={"device": hostile}
    )
    text = f"Traceback: {'x' * 10**6}\nValueError: {hostile}"
    assert ledger.fail_attempt(lease, [runs[0].id], text) is State.WAITING
    with ledger._engine.connect() as connection:
        error = connection.execute(sa.select(t.run.c.error)).scalar_one()
        trial = sa.select(t.trial.c.reason).where(t.trial.c.id == lease.trial.id)
        reason = connection.execute(trial).scalar_one()
        events = connection.execute(sa.select(t.event.c.data)).scalars().all()
    assert len(error) == 100_000
    assert error.startswith("Traceback: xxx")
    assert reason == "ValueError: a\\x00b\\ud800\U0001f600"
    assert error.endswith(reason)
    assert error in [event.get("traceback") for event in events]


def test_giving_a_trial_back_costs_no_attempt(ledger: Ledger, study: StudyRecord) -> None:
    for _ in range(5):
        lease = claim(ledger, study)
        assert lease.trial.attempts == 1
        ledger.release(lease)


def test_an_epoch_that_is_trained_again_is_recorded_once(
    ledger: Ledger, study: StudyRecord
) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    record_one(ledger, lease, {run.id: record(1)})
    record_one(ledger, lease, {run.id: record(2)})
    record_one(ledger, lease, {run.id: record(1)})
    assert [epoch.epoch for epoch in ledger.epochs(run.id)] == [1, 2]
    assert ledger.runs(lease.trial.id)[0].epochs_done == 2


def test_numbers_come_back_to_the_last_bit_and_nan_as_nan(
    ledger: Ledger, study: StudyRecord
) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    values = [-0.0, 5e-324, -1e-310, 0.1, math.nextafter(0.1, 1), 1 / 3, 1e308, 2.0**60]
    for epoch, value in enumerate(values, start=1):
        record_one(ledger, lease, {run.id: record(epoch, value)})
    record_one(ledger, lease, {run.id: record(len(values) + 1, math.nan)})
    *read, last = (epoch.metrics["train_loss"] for epoch in ledger.epochs(run.id))
    assert [value.hex() for value in read] == [value.hex() for value in values]
    assert math.isnan(last)
    with ledger._engine.connect() as connection:
        query = "SELECT CAST(metrics AS TEXT) FROM ledger_epoch ORDER BY epoch DESC"
        assert json.loads(str(connection.exec_driver_sql(query).scalar()))["train_loss"] is None


def test_test_metrics_are_in_no_record_that_can_be_read(ledger: Ledger, study: StudyRecord) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    record_one(ledger, lease, {run.id: record()})
    for read in (ledger.epochs(run.id), ledger.study_epochs(study.id)[run.id]):
        assert [(each.sealed, each.test_correct) for each in read] == [({}, None)]
        assert not [name for name in read[0].metrics if "test" in name]
    with ledger._engine.connect() as connection:
        sealed = connection.execute(sa.select(sealed_epoch)).all()
    assert sealed == [(run.id, 1, {"test_loss": 0.7, "test_accuracy": 0.75})]
    frame = epoch_frame(ledger, study.id)
    assert not [column for column in frame.columns if "test" in column]


def test_what_is_sealed_cannot_be_read_before_it_was_unsealed(
    ledger: Ledger, study: StudyRecord
) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    record_one(ledger, lease, {run.id: record()})
    for read in (
        lambda study_id: ledger.study_epochs(study_id, sealed=True),
        ledger.sealed_examples,
        lambda study_id: epoch_frame(ledger, study_id, sealed=True),
        lambda study_id: example_frame(ledger, study_id),
    ):
        with pytest.raises(
            SealedError, match=r"are sealed: open them with `indian-tune analyze STUDY`"
        ):
            read(study.id)
    assert ledger.unseal(study.id, "a test")
    assert not ledger.unseal(study.id, "again")
    (opened,) = ledger.study_epochs(study.id, sealed=True)[run.id]
    assert (opened.epoch, opened.sealed) == (1, {"test_loss": 0.7, "test_accuracy": 0.75})
    frame = epoch_frame(ledger, study.id, sealed=True)
    assert list(frame["test_accuracy"]) == [0.75]
    (event,) = ledger.events(study.id, "unsealed")
    assert (event.data["by"], event.data["finished"]) == ("a test", False)


@given(correct=st.text("01", min_size=1, max_size=40))
def test_packed_truth_values_come_back(correct: str) -> None:
    assert "".join(str(int(value)) for value in unpack(pack(correct), len(correct))) == correct


def test_which_test_images_are_right_is_kept_run_by_run(ledger: Ledger, study: StudyRecord) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    record_one(ledger, lease, {run.id: record(1)})
    record_one(ledger, lease, {run.id: record(2, test_correct="0110000001")})
    record_one(ledger, lease, {run.id: record(2, test_correct="0110000001")})
    ledger.unseal(study.id, "a test")
    right = [1, 2, 9]
    assert ledger.sealed_examples(study.id) == {run.id: [n in right for n in range(10)]}
    frame = example_frame(ledger, study.id)
    assert list(np.flatnonzero(frame["correct"][0])) == right
    assert list(frame["seed"]) == [run.seed]


def test_a_finished_trial_cannot_be_finished_again(ledger: Ledger, study: StudyRecord) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    ledger.finish_run(lease, run.id, State.COMPLETE)
    with pytest.raises(IllegalTransitionError, match="is complete and cannot become diverged"):
        ledger.finish_run(lease, run.id, State.DIVERGED)
    ledger.finish(lease, State.COMPLETE, 0.25)
    with pytest.raises(LeaseLostError):
        ledger.finish(lease, State.PRUNED, 0.5)
    trial = ledger.trial(lease.trial.id)
    assert (trial.state, trial.value, trial.told) == (State.COMPLETE, 0.25, False)


def test_progress_counts_states_and_knows_the_best(ledger: Ledger, study: StudyRecord) -> None:
    for value in (0.5, 0.25, 0.25):
        lease = claim(ledger, study)
        (run,) = begin(ledger, lease)
        record_one(ledger, lease, {run.id: record()})
        ledger.finish(lease, State.COMPLETE, value)
    claim(ledger, study)
    indian, sgd = ledger.progress(study.id)
    assert indian.counts == {State.COMPLETE: 2, State.WAITING: 1}
    assert (indian.best, indian.best_trial, indian.epochs_done) == (0.25, 1, 2)
    assert sgd.counts == {State.COMPLETE: 1, State.RUNNING: 1, State.WAITING: 1}
    assert (sgd.finished, sgd.total) == (1, 3)


def test_ties_go_to_the_trial_that_was_asked_for_first(ledger: Ledger, study: StudyRecord) -> None:
    leases = [claim(ledger, study) for _ in range(6)]
    for lease in reversed(leases):
        ledger.finish(lease, State.COMPLETE, 0.25)
    assert [part.best_trial for part in ledger.progress(study.id)] == [0, 0]


def test_a_run_that_is_resumed_with_other_arithmetic_is_marked(
    ledger: Ledger, study: StudyRecord
) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)

    def resumed(**provenance: str) -> dict[str, Any]:
        ledger.describe(lease, provenance)
        return dict(ledger.runs(lease.trial.id)[0].provenance or {})

    # Nothing was computed yet.
    assert resumed(device="cpu", execution="loop") == {"device": "cpu", "execution": "loop"}
    ledger.record_pack([(lease, {run.id: record(1)})])
    assert resumed(device="cpu", execution="loop") == {"device": "cpu", "execution": "loop"}
    found = resumed(device="cpu", execution="written out")
    assert found["resumed_from"] == "epochs to 1: execution loop"
    # An engine that does not know it yet leaves it as it is.
    ledger.begin(lease, {"gamma0": 0.1}, 1, seeds=(0,), epochs=2, provenance={})
    found = resumed(device="cuda", execution="written out")
    assert found["resumed_from"] == "epochs to 1: execution loop; epochs to 1: device cpu"


def complete_all(ledger: Ledger, study: StudyRecord, values: dict[str, float]) -> list[Winner]:
    """Finish every open tune trial; return the best of every arm."""
    arms = ledger.arms(study.id)
    names = {arm.id: arm.name for arm in arms}
    while (lease := ledger.claim(study.id, Phase.TUNE, "first")) is not None:
        place = f"{names[lease.trial.arm_id]}/{lease.trial.index}"
        config = {"gamma0": lease.trial.index / 8}
        ledger.begin(lease, config, 1, seeds=(0,), epochs=2, provenance={})
        ledger.finish(lease, State.COMPLETE, values.get(place, 0.5))
    best = {
        arm.id: min(
            ledger.trials(study.id, phase=Phase.TUNE, arm_id=arm.id),
            key=lambda trial: (trial.value or 0.0, trial.index),
        )
        for arm in arms
    }
    return [Winner(arm, dict(best[arm.id].config or {}), best[arm.id]) for arm in arms]


def test_freezing_happens_once_and_makes_the_confirm_slots(
    ledger: Ledger, study: StudyRecord
) -> None:
    winners = complete_all(ledger, study, {"indian/1": 0.1})
    assert not ledger.frozen(study.id)
    assert ledger.freeze(study.id, winners[:1], [1000, 1001])
    assert ledger.frozen(study.id)
    assert not ledger.freeze(study.id, winners[:1], [1000, 1001])
    config = winners[0].config
    confirms = ledger.trials(study.id, phase=Phase.CONFIRM)
    assert [(trial.index, trial.freezing, trial.config) for trial in confirms] == [
        (0, 1, config),
        (1, 1, config),
    ]
    (event,) = ledger.events(study.id, "frozen")
    assert event.data == {
        "freezing": 1,
        "winners": {"indian": {"trial": 1, "config": config, "value": 0.1}},
        "seeds": [1000, 1001],
    }


def test_a_study_cannot_be_frozen_while_it_tunes(ledger: Ledger, study: StudyRecord) -> None:
    lease = claim(ledger, study)
    begin(ledger, lease)
    ledger.finish(lease, State.COMPLETE, 0.1)
    winner = Winner(ledger.arms(study.id)[0], {"gamma0": 0.1}, ledger.trial(lease.trial.id))
    assert not ledger.freeze(study.id, [winner], [1000])
    assert ledger.trials(study.id, phase=Phase.CONFIRM) == []


def test_an_extension_adds_slots_and_touches_no_old_one(ledger: Ledger, study: StudyRecord) -> None:
    winners = complete_all(ledger, study, {"indian/1": 0.1, "sgd/2": 0.2})
    ledger.freeze(study.id, winners, [1000, 1001])
    before = ledger.trials(study.id)
    assert ledger.extend(study.id, 2) == {"indian": 5, "sgd": 5}
    after = ledger.trials(study.id)
    assert [trial for trial in after if trial in before] == before
    assert [(t.phase, t.index, t.state) for t in after if t not in before] == 2 * [
        (Phase.TUNE, 3, State.WAITING),
        (Phase.TUNE, 4, State.WAITING),
    ]
    (event,) = ledger.events(study.id, "extended")
    assert (event.data["added"], event.data["trials"]) == (
        {"indian": 2, "sgd": 2},
        {"indian": 5, "sgd": 5},
    )


def test_after_an_extension_only_a_new_winner_gets_new_confirm_slots(
    ledger: Ledger, study: StudyRecord
) -> None:
    ledger.freeze(study.id, complete_all(ledger, study, {"indian/1": 0.1, "sgd/2": 0.2}), [7, 8])
    old = ledger.trials(study.id, phase=Phase.CONFIRM)
    ledger.extend(study.id, 2)
    assert not ledger.frozen(study.id)
    winners = complete_all(ledger, study, {"indian/4": 0.05})
    assert ledger.freeze(study.id, winners, [7, 8])
    assert ledger.frozen(study.id)
    indian, sgd = (winner.arm.id for winner in winners)
    confirms = ledger.trials(study.id, phase=Phase.CONFIRM)
    assert [trial for trial in confirms if trial in old] == old
    assert [(t.arm_id, t.index, t.freezing) for t in confirms if t not in old] == [
        (indian, 2, 2),
        (indian, 3, 2),
    ]
    assert [(t.arm_id, t.index) for t in ledger.confirms(study.id)] == [
        (indian, 2),
        (indian, 3),
        (sgd, 0),
        (sgd, 1),
    ]
    assert [event.data["freezing"] for event in ledger.events(study.id, "frozen")] == [1, 2]


def test_an_extension_by_nothing_is_refused(ledger: Ledger, study: StudyRecord) -> None:
    with pytest.raises(InputError, match="trials = 0 to add must be at least 1"):
        ledger.extend(study.id, 0)


def test_the_same_report_twice_changes_nothing(ledger: Ledger, study: StudyRecord) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    for _ in range(2):
        ledger.finish_run(lease, run.id, State.COMPLETE)
    ledger.finish(lease, State.COMPLETE, 0.25)
    once = ledger.trial(lease.trial.id), ledger.runs(lease.trial.id)
    ledger.finish(lease, State.COMPLETE, 0.25)
    assert (ledger.trial(lease.trial.id), ledger.runs(lease.trial.id)) == once
    given_back = claim(ledger, study)
    for _ in range(2):
        ledger.release(given_back)
    assert ledger.trial(given_back.trial.id).attempts == 0
    broken = claim(ledger, study)
    for _ in range(2):
        assert ledger.fail_attempt(broken, [], "ValueError: once") is State.WAITING
    assert len(ledger.events(study.id, "broke")) == 1
    assert len(ledger.events(study.id, "released")) == 1


def test_a_report_on_a_trial_that_was_given_back_is_refused(
    ledger: Ledger, study: StudyRecord
) -> None:
    lease = claim(ledger, study)
    (run,) = begin(ledger, lease)
    ledger.release(lease)
    with pytest.raises(LeaseLostError):
        record_one(ledger, lease, {run.id: record()})
    with pytest.raises(LeaseLostError):
        ledger.finish(lease, State.COMPLETE, 0.5)


def test_a_trial_that_gets_on_may_lose_any_number_of_workers(
    ledger: Ledger, study: StudyRecord
) -> None:
    first = claim(ledger, study)
    begin(ledger, first)
    holder = "first"
    for epoch in range(1, 2 * ledger.max_attempts):
        lose(ledger, study, holder)
        holder = join(ledger, study, f"holder {epoch}")
        lease = claim(ledger, study, holder)
        assert lease.trial.id == first.trial.id
        (run,) = begin(ledger, lease)
        record_one(ledger, lease, {run.id: record(epoch)})
    assert ledger.trial(first.trial.id).attempts == 1
    # Training an epoch again gets it no further.
    for again in range(ledger.max_attempts - 1):
        lose(ledger, study, holder)
        holder = join(ledger, study, f"again {again}")
        lease = claim(ledger, study, holder)
        record_one(ledger, lease, {run.id: record(1)})
    lose(ledger, study, holder)
    assert claim(ledger, study, "second").trial.id != first.trial.id
    assert ledger.trial(first.trial.id).state is State.FAILED


def test_every_change_of_hands_is_an_event(ledger: Ledger, study: StudyRecord) -> None:
    lease = claim(ledger, study)
    ledger.release(lease)
    claim(ledger, study, "second")
    lose(ledger, study, "second")
    claim(ledger, study)
    events = [event for event in ledger.events(study.id) if event.trial_id == lease.trial.id]
    assert [(event.kind, dict(event.data)) for event in events] == [
        ("released", {"worker": "first"}),
        ("continued", {"attempt": 1, "from": "first", "by": "second", "epochs": 0}),
        ("taken over", {"attempt": 2, "from": "second", "by": "first", "epochs": 0}),
    ]


def test_two_living_workers_may_take_a_trial_from_each_other_for_ever(
    ledger: Ledger, study: StudyRecord
) -> None:
    first = claim(ledger, study)
    begin(ledger, first)
    for turn in range(3 * ledger.max_attempts):
        pass_time(ledger, 1.5)
        taker, loser = ("first", "second") if turn % 2 else ("second", "first")
        lease = claim(ledger, study, taker)
        assert (lease.trial.id, lease.trial.attempts) == (first.trial.id, 1)
        # Its heart beats again: it was slow, not dead.
        ledger.heartbeat(loser)
        pass_time(ledger, 0.1)


def test_a_worker_unheard_of_for_three_lease_times_ends_an_attempt_whenever_that_shows(
    ledger: Ledger, study: StudyRecord
) -> None:
    lost = claim(ledger, study)
    begin(ledger, lost)
    # Nobody can tell yet whether the first is dead or slow.
    pass_time(ledger, 1.5)
    lease = claim(ledger, study, join(ledger, study, "third"))
    assert (lease.trial.id, lease.trial.attempts) == (lost.trial.id, 1)
    pass_time(ledger, 1.6)
    # Now the first has been silent for three lease times, the third for less than two.
    lease = claim(ledger, study, join(ledger, study, "fourth"))
    assert (lease.trial.id, lease.trial.attempts) == (lost.trial.id, 2)
    pass_time(ledger, 3.1)
    assert claim(ledger, study, join(ledger, study, "fifth")).trial.id != lost.trial.id
    assert ledger.trial(lost.trial.id).state is State.FAILED


def test_a_worker_that_dies_long_after_it_lost_a_trial_ends_no_attempt_at_it(
    ledger: Ledger, study: StudyRecord
) -> None:
    lost = claim(ledger, study)
    pass_time(ledger, 1.5)
    claim(ledger, study, join(ledger, study, "third"))
    ledger.heartbeat("first")
    lose(ledger, study, "first")
    lose(ledger, study, "third")
    lease = claim(ledger, study, "second")
    assert (lease.trial.id, lease.trial.attempts) == (lost.trial.id, 2)


def test_a_worker_that_leaves_in_good_order_ends_no_attempt(
    ledger: Ledger, study: StudyRecord
) -> None:
    first = claim(ledger, study)
    for _ in range(2 * ledger.max_attempts):
        ledger.leave("first")
        lease = claim(ledger, study)
        assert (lease.trial.id, lease.trial.attempts) == (first.trial.id, 1)


def test_exceptions_and_deaths_are_attempts_alike(ledger: Ledger, study: StudyRecord) -> None:
    broken = claim(ledger, study)
    assert ledger.fail_attempt(broken, [], "ValueError: once") is State.WAITING
    for attempt in (2, 3):
        victim = join(ledger, study, f"victim {attempt}")
        lease = claim(ledger, study, victim)
        assert (lease.trial.id, lease.trial.attempts) == (broken.trial.id, attempt)
        lose(ledger, study, victim)
    claim(ledger, study, "second")
    assert ledger.trial(broken.trial.id).reason == (
        "3 attempts ended without a new epoch, 1 with an exception and 2 with the death of their "
        "worker"
    )


def test_a_trial_that_nobody_holds_gets_its_attempts_back_with_the_failed_ones(
    ledger: Ledger, study: StudyRecord
) -> None:
    first = claim(ledger, study)
    lose(ledger, study)
    lease = claim(ledger, study, "second")
    assert (lease.trial.id, lease.trial.attempts) == (first.trial.id, 2)
    lose(ledger, study, "second")
    assert ledger.retry(study.id) == 0
    lease = claim(ledger, study, join(ledger, study, "third"))
    assert (lease.trial.id, lease.trial.attempts) == (first.trial.id, 1)


def test_who_finished_a_trial_stays_on_record(ledger: Ledger, study: StudyRecord) -> None:
    lease = claim(ledger, study)
    begin(ledger, lease)
    ledger.finish(lease, State.COMPLETE, 0.5)
    trial = ledger.trial(lease.trial.id)
    assert (trial.worker_id, trial.lease_expires_at) == ("first", None)
    assert trial.started_at is not None
    assert trial.finished_at is not None


def test_only_sqlite_refuses_workers_of_two_hosts_at_once(
    ledger: Ledger, study: StudyRecord, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join(worker: str) -> None:
        ledger.join(study.id, worker, host="elsewhere", pid=1, started="0", device="cpu")

    if not database.startswith("sqlite"):
        join("third")
        return
    with pytest.raises(StorageError, match="host 'here' uses it, but this host is 'elsewhere'"):
        join("third")
    ledger.leave("first")
    with pytest.raises(StorageError, match="use a PostgreSQL server"):
        join("third")
    # The other one went silent long ago: the file has moved, it is not shared.
    monkeypatch.setattr(ledger, "lease", timedelta(seconds=-1))
    join("third")


def test_a_connection_lost_after_the_commit_repeats_no_claim(
    ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indian_tune.ledger.retry.FIRST_PAUSE_SECONDS", 0.0)
    lost = iter([True, False, True, False, True, False])

    def lose_answer(connection: sa.Connection) -> None:
        if next(lost, False):
            error = sqlite3.OperationalError("the answer was lost")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise sa.exc.OperationalError("COMMIT", {}, error)

    writing = type(ledger)._writing

    @contextmanager
    def unsteady(self: Ledger) -> Iterator[sa.Connection]:
        with storage_errors(self.url):
            with writing(self) as connection:
                yield connection
            lose_answer(connection)

    monkeypatch.setattr(type(ledger), "_writing", unsteady)
    lease = claim(ledger, study)
    assert ledger.extend(study.id, 1) == {"indian": 4, "sgd": 4}
    ledger.finish(lease, State.COMPLETE, 0.5)
    states = [trial.state for trial in ledger.trials(study.id)]
    assert states.count(State.COMPLETE) == 1
    assert states.count(State.WAITING) == 7
    assert ledger.trial(lease.trial.id).attempts == 1


def test_winners_that_were_chosen_before_trials_were_added_are_not_frozen(
    ledger: Ledger, study: StudyRecord
) -> None:
    winners = complete_all(ledger, study, {"indian/1": 0.1, "sgd/2": 0.2})
    changes = ledger.changes(study.id)
    # Meanwhile somebody adds a trial that turns out better, and it ends.
    ledger.extend(study.id, 1)
    complete_all(ledger, study, {"indian/3": 0.05, "sgd/3": 0.3})
    assert ledger.open_trials(study.id, Phase.TUNE) == 0
    assert not ledger.freeze(study.id, winners, [7, 8], changes=changes)
    assert not ledger.insert_finalists(
        study.id, ledger.trials(study.id, phase=Phase.TUNE)[:1], changes=changes
    )
    assert not ledger.frozen(study.id)
    assert ledger.freeze(study.id, winners, [7, 8], changes=ledger.changes(study.id))


def test_a_slow_worker_gives_back_a_trial_whose_attempts_were_reset(
    ledger: Ledger, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "lease", timedelta(seconds=-1))
    lease = claim(ledger, study)
    # Its lease has run out, so that the trial gets a full set of attempts.
    assert ledger.retry(study.id) == 0
    ledger.release(lease)
    trial = ledger.trial(lease.trial.id)
    assert (trial.state, trial.attempts) == (State.WAITING, 0)
