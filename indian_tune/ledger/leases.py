"""Who may work on which trial: claims, renewals, takeovers, and giving back.

Functions on an open write transaction; `Ledger` is their only caller. A claim is atomic: under
SQLite the whole transaction holds the write lock, under PostgreSQL the row is locked and rows
that others are claiming are skipped.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import sqlalchemy as sa

from indian_tune.errors import LeaseLostError
from indian_tune.ledger import tables as t
from indian_tune.ledger.reader import trial_record
from indian_tune.ledger.records import Lease
from indian_tune.ledger.states import Phase, State, check_transition

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from indian_tune.ledger.records import TrialRecord

NO_LEASE = {"worker_id": None, "lease_token": None, "lease_expires_at": None}


def next_claimable(
    connection: sa.Connection, study_id: int, phase: Phase, now: datetime
) -> TrialRecord | None:
    """Lock and return the next trial that waits or whose lease has expired.

    Lowest index first and then in the order of the arms, so that all arms advance together.
    """
    query = (
        sa.select(t.trial)
        .join(t.arm, t.arm.c.id == t.trial.c.arm_id)
        .where(t.trial.c.study_id == study_id, t.trial.c.phase == phase)
        .where(
            (t.trial.c.state == State.WAITING)
            | ((t.trial.c.state == State.RUNNING) & (t.trial.c.lease_expires_at < now))
        )
        .order_by(t.trial.c.index, t.arm.c.position)
        .limit(1)
        .with_for_update(of=t.trial, skip_locked=True)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else trial_record(row)


def grant(
    connection: sa.Connection,
    trial: TrialRecord,
    worker_id: str,
    now: datetime,
    duration: timedelta,
) -> Lease:
    """Give the trial to a worker, whoever held it before."""
    check_transition(f"trial {trial.id}", trial.state, State.RUNNING)
    token = secrets.token_hex(16)
    connection.execute(
        sa.update(t.trial)
        .where(t.trial.c.id == trial.id)
        .values(
            state=State.RUNNING,
            worker_id=worker_id,
            lease_token=token,
            lease_expires_at=now + duration,
            attempts=t.trial.c.attempts + 1,
            started_at=sa.func.coalesce(t.trial.c.started_at, sa.bindparam("now", now)),
        )
    )
    row = connection.execute(sa.select(t.trial).where(t.trial.c.id == trial.id)).mappings().one()
    return Lease(trial=trial_record(row), token=token)


def write_under(lease: Lease, connection: sa.Connection, **values: object) -> None:
    """Change the leased trial, provided that the lease still holds.

    Raises:
        LeaseLostError: another worker has taken the trial over, or it was given back.
    """
    result = connection.execute(
        sa.update(t.trial)
        .where(t.trial.c.id == lease.trial.id, t.trial.c.lease_token == lease.token)
        .values(**values)
    )
    if result.rowcount != 1:
        raise LeaseLostError(
            f"trial {lease.trial.id} is no longer this worker's: its lease expired and "
            "another worker has taken it over"
        )


def renew(connection: sa.Connection, worker_id: str, now: datetime, duration: timedelta) -> None:
    """Prolong every lease that a worker holds."""
    connection.execute(
        sa.update(t.trial)
        .where(t.trial.c.worker_id == worker_id, t.trial.c.state == State.RUNNING)
        .values(lease_expires_at=now + duration)
    )


def expire(connection: sa.Connection, worker_id: str, now: datetime) -> int:
    """End every lease of a worker that is known to be dead; return how many there were."""
    result = connection.execute(
        sa.update(t.trial)
        .where(t.trial.c.worker_id == worker_id, t.trial.c.state == State.RUNNING)
        .where(t.trial.c.lease_expires_at > now)
        .values(lease_expires_at=now)
    )
    return int(result.rowcount)
