"""Leases on trials: claim, renew, take over, release.

Functions on an open write transaction; `Ledger` is their only caller. A claim is atomic: under
SQLite the whole transaction holds the write lock, under PostgreSQL the row is locked and rows
that others are claiming are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.errors import LeaseLostError
from indian_tune.ledger import runs, slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.budget import spent_searches
from indian_tune.ledger.records import Lease
from indian_tune.ledger.states import UNFINISHED, Phase, State, check_transition
from indian_tune.ledger.trials import trial_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from indian_tune.ledger.budget import Budget
    from indian_tune.ledger.records import TrialRecord

# Built once: every epoch of every trial renews its lease by it.
_UNDER_LEASE = sa.update(t.trial).where(
    t.trial.c.id == sa.bindparam("leased"),
    t.trial.c.lease_token == sa.bindparam("held"),
    t.trial.c.state == State.RUNNING,
)

# Of attempts, when one does not count. A trial may have none left to take away: whoever asks for
# failed trials to be tried again gives a full set to those whose lease has run out, too.
ONE_FEWER = sa.case((t.trial.c.attempts > 0, t.trial.c.attempts - 1), else_=0)


@dataclass(frozen=True)
class Demand:
    """Which trials a worker asks for.

    Attributes:
        study_id: of the study.
        phase: of the trials.
        arm_ids: of certain arms only; of all if ``None``.
        replicate: of this search of each arm only; of all if ``None``.
        generation: how many successive trials of a search are asked for together and finished
            before the next; ``None`` for no such order.
        budget: what a search may spend beside its number of trials.
    """

    study_id: int
    phase: Phase
    arm_ids: Sequence[int] | None = None
    replicate: int | None = None
    generation: int | None = None
    budget: Budget | None = None


def next_claimable(connection: sa.Connection, demand: Demand, now: datetime) -> TrialRecord | None:
    """Lock and return the next trial that was abandoned, or else that waits.

    Search after search, lowest index first and then in the order of the arms, so that all arms
    advance together.
    """
    mine = sa.select(t.trial).where(
        t.trial.c.study_id == demand.study_id, t.trial.c.phase == demand.phase
    )
    if demand.arm_ids is not None:
        mine = mine.where(t.trial.c.arm_id.in_(demand.arm_ids))
    if demand.replicate is not None:
        mine = mine.where(t.trial.c.replicate == demand.replicate)
    abandoned = mine.where(t.trial.c.state == State.RUNNING, t.trial.c.lease_expires_at < now)
    waiting = mine.where(t.trial.c.state == State.WAITING)
    if demand.budget is not None:
        for arm_id, replicate in spent_searches(connection, demand.study_id, demand.budget, now):
            spent = (t.trial.c.arm_id == arm_id) & (t.trial.c.replicate == replicate)
            waiting = waiting.where(t.trial.c.started_at.is_not(None) | ~spent)
    if demand.generation is not None:
        waiting = _in_turn(waiting, demand, demand.generation)
    # Two queries, because an index serves each of them and none serves both at once.
    for query in (abandoned, waiting):
        row = (
            connection.execute(
                query.join(t.arm, t.arm.c.id == t.trial.c.arm_id)
                .order_by(t.trial.c.replicate, t.trial.c.index, t.arm.c.position)
                .limit(1)
                .with_for_update(of=t.trial, skip_locked=True)
            )
            .mappings()
            .one_or_none()
        )
        if row is not None:
            return trial_record(row)
    return None


def _in_turn(waiting: sa.Select[Any], demand: Demand, size: int) -> sa.Select[Any]:
    """Keep the trials of each search's generation under way; the first until all are asked for.

    The state of a search only moves forward, so an outdated answer grants less, not more.
    """
    unasked = sa.case((t.trial.c.config.is_(sa.null()), t.trial.c.index))
    front = (
        sa.select(
            t.trial.c.arm_id,
            t.trial.c.replicate,
            sa.func.min(t.trial.c.index).label("first"),
            sa.func.min(unasked).label("unasked"),
        )
        .where(
            t.trial.c.study_id == demand.study_id,
            t.trial.c.phase == demand.phase,
            t.trial.c.state.in_(UNFINISHED),
        )
        .group_by(t.trial.c.arm_id, t.trial.c.replicate)
        .subquery()
    )
    own = (front.c.arm_id == t.trial.c.arm_id) & (front.c.replicate == t.trial.c.replicate)
    return waiting.join(front, own).where(
        t.trial.c.index // size == front.c.first // size,
        t.trial.c.config.is_not(sa.null()) | (t.trial.c.index == front.c.unasked),
    )


def granted(connection: sa.Connection, demand: Demand, token: str) -> TrialRecord | None:
    """Return the trial that was granted under a token, ``None`` when none was."""
    query = sa.select(t.trial).where(
        t.trial.c.study_id == demand.study_id,
        t.trial.c.phase == demand.phase,
        t.trial.c.state == State.RUNNING,
        t.trial.c.lease_token == token,
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else trial_record(row)


@dataclass(frozen=True)
class SpentAttempts:
    """Attempts at a trial that have ended since its last newly recorded epoch.

    Attributes:
        broken: those that ended with an exception.
        deaths: those that ended with the death of their worker.
    """

    broken: int = 0
    deaths: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.broken + self.deaths

    def __str__(self) -> str:
        if not self.broken:
            return f"{self.deaths} attempts ended with the death of their worker"
        return (
            f"{self.total} attempts ended without a new epoch, {self.broken} with an exception and "
            f"{self.deaths} with the death of their worker"
        )


def spent_attempts(
    connection: sa.Connection, trial: TrialRecord, now: datetime, patience: timedelta
) -> SpentAttempts:
    """Count the attempts at a trial that have ended since its last newly recorded epoch.

    A worker that loses its lease does not end an attempt: it may be slow. It did if it was never
    heard of again, and is known to have died or has been silent for too long by now. So a death
    may count only at a later claim than the one that took the trial over.

    Args:
        connection: in a write transaction.
        trial: that is about to be claimed.
        now: time of the database.
        patience: how long a worker may be silent before it is taken for dead.
    """
    kinds = (slots.BROKE, slots.TAKEN_OVER, slots.PUT_BACK)
    query = sa.select(t.event.c.kind, t.event.c.data, t.event.c.at).where(
        t.event.c.study_id == trial.study_id,
        t.event.c.trial_id == trial.id,
        t.event.c.kind.in_(kinds),
    )
    epochs = runs.epochs_done(connection, trial.id)
    broken = 0
    losses: dict[str, datetime] = {}
    for kind, data, at in connection.execute(query.order_by(t.event.c.id)):
        if kind == slots.PUT_BACK:
            broken, losses = 0, {}
        elif data.get("epochs") == epochs:
            if kind == slots.BROKE:
                broken += 1
            elif data["from"] is not None:
                losses[data["from"]] = at
    # None are left to a trial that was put back while nobody worked on it.
    if trial.state is State.RUNNING and trial.attempts and trial.worker_id is not None:
        losses[trial.worker_id] = now
    return SpentAttempts(broken, _deaths(connection, trial.study_id, losses, now, patience))


def _deaths(
    connection: sa.Connection,
    study_id: int,
    losses: Mapping[str, datetime],
    now: datetime,
    patience: timedelta,
) -> int:
    """Return how many workers died over a trial that they lost, by when each of them lost it."""
    if not losses:
        return 0
    noted = sa.select(t.event.c.data).where(
        t.event.c.study_id == study_id, t.event.c.kind == slots.LOST
    )
    seen = {data["worker"] for data in connection.scalars(noted)}
    query = sa.select(t.worker.c.id, t.worker.c.heartbeat_at, t.worker.c.left_at)
    return sum(
        heard <= losses[worker] and (now - heard > patience if left is None else worker in seen)
        for worker, heard, left in connection.execute(query.where(t.worker.c.id.in_(losses)))
    )


def grant(
    connection: sa.Connection,
    trial: TrialRecord,
    spent: int,
    worker_id: str,
    token: str,
    now: datetime,
    duration: timedelta,
) -> Lease:
    """Give the trial to a worker, whoever held it before and how many attempts are spent."""
    check_transition(f"trial {trial.id}", trial.state, State.RUNNING)
    changes: dict[str, Any] = {
        "state": State.RUNNING,
        "worker_id": worker_id,
        "lease_expires_at": now + duration,
        "attempts": spent + 1,
        "started_at": trial.started_at or now,
    }
    connection.execute(
        sa.update(t.trial).where(t.trial.c.id == trial.id).values(lease_token=token, **changes)
    )
    # Claiming is a sign of life.
    connection.execute(
        sa.update(t.worker).where(t.worker.c.id == worker_id).values(heartbeat_at=now)
    )
    again = trial.started_at is not None
    return Lease(trial=replace(trial, **changes), token=token, again=again)


def write_under(lease: Lease, connection: sa.Connection, **values: object) -> None:
    """Change the leased trial, provided that the lease still holds.

    Raises:
        LeaseLostError: another worker has taken the trial over, or it was ended or given back.
    """
    held = {"leased": lease.trial.id, "held": lease.token}
    if connection.execute(_UNDER_LEASE.values(values), held).rowcount != 1:
        raise LeaseLostError(lost(lease))


def lost(lease: Lease) -> str:
    """Return what to tell a worker that holds a lease no more."""
    return (
        f"this worker no longer holds trial {lease.trial.id}: it did not report in time, and "
        "another worker took it over"
    )


def end(lease: Lease, connection: sa.Connection, state: State, **values: object) -> bool:
    """Give the leased trial its next state and end the lease.

    The token stays with the trial: it tells a repetition, which changes nothing, from a report
    that comes too late.

    Returns:
        Whether anything was changed; ``False`` when it had been done under this very lease.

    Raises:
        LeaseLostError: another worker has taken the trial over.
    """
    check_transition(f"trial {lease.trial.id}", lease.trial.state, state)
    try:
        write_under(lease, connection, state=state, lease_expires_at=None, **values)
    except LeaseLostError:
        query = sa.select(t.trial.c.lease_token, t.trial.c.state)
        row = connection.execute(query.where(t.trial.c.id == lease.trial.id)).one()
        if tuple(row) != (lease.token, state):
            raise
        return False
    return True


def renew(connection: sa.Connection, worker_id: str, now: datetime, duration: timedelta) -> None:
    """Prolong every lease that a worker holds."""
    connection.execute(
        sa.update(t.trial)
        .where(t.trial.c.worker_id == worker_id, t.trial.c.state == State.RUNNING)
        .values(lease_expires_at=now + duration)
    )


def give_back(connection: sa.Connection, worker_id: str) -> list[tuple[int, int]]:
    """Let the trials that a worker holds wait, as an attempt that does not count.

    Returns:
        Study and id of each.
    """
    held = sa.select(t.trial.c.study_id, t.trial.c.id).where(
        t.trial.c.worker_id == worker_id, t.trial.c.state == State.RUNNING
    )
    trials = [(study, trial) for study, trial in connection.execute(held.with_for_update())]
    connection.execute(
        sa.update(t.trial)
        .where(t.trial.c.id.in_([trial for _, trial in trials]))
        .values(state=State.WAITING, lease_expires_at=None, attempts=ONE_FEWER)
    )
    return trials


def expire(connection: sa.Connection, worker_id: str, now: datetime) -> int:
    """End every lease of a worker that is known to be dead; return how many there were."""
    result = connection.execute(
        sa.update(t.trial)
        .where(t.trial.c.worker_id == worker_id, t.trial.c.state == State.RUNNING)
        .where(t.trial.c.lease_expires_at > now)
        .values(lease_expires_at=now)
    )
    return int(result.rowcount)
