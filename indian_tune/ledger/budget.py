"""Budgets that are not counted in trials: an arm's last slots go unused once it is spent.

Functions on an open write transaction that holds the study's row, so that two claims cannot both
take what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from indian_tune.ledger import slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.states import Phase, State

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class Budget:
    """What every arm may spend in the tune phase.

    Attributes:
        kind: epochs trained, or seconds of training and measuring.
        limit: per arm. Epochs are never exceeded; the last trial begun may run over the seconds.
        trial: epochs of a whole trial, over all its seeds.
    """

    kind: Literal["epochs", "seconds"]
    limit: float
    trial: int


def spent_arms(
    connection: sa.Connection, study_id: int, budget: Budget, now: datetime
) -> list[int]:
    """Return the arms that may begin no further trial now, and drop slots that cannot be paid for.

    An arm whose begun trials have all ended, and which cannot pay for another, loses the slots that
    it never began; an event tells how many.
    """
    tune = (t.trial.c.study_id == study_id) & (t.trial.c.phase == Phase.TUNE)
    unbegun = (t.trial.c.state == State.WAITING) & t.trial.c.started_at.is_(None)
    rows = connection.execute(
        sa.select(
            t.trial.c.arm_id,
            sa.func.sum(sa.case((unbegun, 1), else_=0)).label("unbegun"),
            sa.func.sum(
                sa.case(
                    (t.trial.c.state.in_((State.WAITING, State.RUNNING)) & ~unbegun, 1), else_=0
                )
            ).label("open"),
        )
        .where(tune)
        .group_by(t.trial.c.arm_id)
    ).all()
    spent = _spent(connection, tune, budget)
    blocked = []
    for row in rows:
        if not row.unbegun or _has_room(budget, spent.get(row.arm_id, 0.0), row.open):
            continue
        blocked.append(row.arm_id)
        if not row.open:
            connection.execute(
                sa.delete(t.trial).where(tune, unbegun, t.trial.c.arm_id == row.arm_id)
            )
            data = {
                "arm_id": row.arm_id,
                "budget": budget.kind,
                "spent": spent.get(row.arm_id, 0.0),
                "unused": row.unbegun,
            }
            slots.record_event(connection, study_id, "budget spent", data, now)
    return blocked


def _has_room(budget: Budget, spent: float, begun: int) -> bool:
    if budget.kind == "seconds":
        return spent < budget.limit
    # What is under way may need all its epochs.
    return spent + (begun + 1) * budget.trial <= budget.limit


def _spent(
    connection: sa.Connection, tune: sa.ColumnElement[bool], budget: Budget
) -> dict[int, float]:
    """Return what each arm has spent: the epochs of ended trials, or the seconds of all."""
    if budget.kind == "epochs":
        query = (
            sa.select(t.trial.c.arm_id, sa.func.sum(t.run.c.epochs_done))
            .join_from(t.trial, t.run)
            .where(tune, t.trial.c.state.not_in((State.WAITING, State.RUNNING)))
        )
    else:
        query = (
            sa.select(t.trial.c.arm_id, sa.func.sum(t.epoch.c.seconds))
            .join_from(t.trial, t.run)
            .join(t.epoch, t.epoch.c.run_id == t.run.c.id)
            .where(tune)
        )
    rows = connection.execute(query.group_by(t.trial.c.arm_id))
    return {arm_id: float(total) for arm_id, total in rows}
