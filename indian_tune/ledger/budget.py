"""Budgets of epochs or seconds: a search's remaining slots go unused once it is spent.

Functions on an open write transaction that holds the study's row, so that two claims cannot both
take what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from indian_tune.ledger import slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.states import UNFINISHED, Phase, State

if TYPE_CHECKING:
    from datetime import datetime


_SEARCH = (t.trial.c.arm_id, t.trial.c.replicate)


@dataclass(frozen=True)
class Budget:
    """What every search of an arm may spend in the tune phase.

    Attributes:
        kind: epochs trained, or seconds of training and measuring.
        limit: per search. Epochs are never exceeded; the last trial begun may run over the seconds.
        trial: epochs of a whole trial, over all its seeds.
    """

    kind: Literal["epochs", "seconds"]
    limit: float
    trial: int


def spent_searches(
    connection: sa.Connection, study_id: int, budget: Budget, now: datetime
) -> list[tuple[int, int]]:
    """Return the searches that may begin no further trial now, by arm and replicate.

    One whose begun trials have all ended, and which cannot pay for another, loses the slots that it
    never began; an event tells how many.
    """
    tune = (t.trial.c.study_id == study_id) & (t.trial.c.phase == Phase.TUNE)
    unbegun = (t.trial.c.state == State.WAITING) & t.trial.c.started_at.is_(None)
    rows = connection.execute(
        sa.select(
            *_SEARCH,
            sa.func.sum(sa.case((unbegun, 1), else_=0)).label("unbegun"),
            sa.func.sum(sa.case((t.trial.c.state.in_(UNFINISHED) & ~unbegun, 1), else_=0)).label(
                "open"
            ),
        )
        .where(tune)
        .group_by(*_SEARCH)
    ).all()
    spent = _spent(connection, tune, budget)
    blocked = []
    for row in rows:
        search = row.arm_id, row.replicate
        if not row.unbegun or _has_room(budget, spent.get(search, 0.0), row.open):
            continue
        blocked.append(search)
        if not row.open:
            arm, replicate = (column == key for column, key in zip(_SEARCH, search, strict=True))
            connection.execute(sa.delete(t.trial).where(tune, unbegun, arm, replicate))
            several = slots.count_replicates(connection, study_id) > 1
            data = {
                "arm_id": row.arm_id,
                **({"replicate": row.replicate} if several else {}),
                "budget": budget.kind,
                "spent": spent.get(search, 0.0),
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
) -> dict[tuple[int, int], float]:
    """Return what each search has spent: the epochs of ended trials, or the seconds of all."""
    if budget.kind == "epochs":
        query = (
            sa.select(*_SEARCH, sa.func.sum(t.run.c.epochs_done))
            .join_from(t.trial, t.run)
            .where(tune, t.trial.c.state.not_in(UNFINISHED))
        )
    else:
        query = (
            sa.select(*_SEARCH, sa.func.sum(t.epoch.c.seconds))
            .join_from(t.trial, t.run)
            .join(t.epoch, t.epoch.c.run_id == t.run.c.id)
            .where(tune)
        )
    rows = connection.execute(query.group_by(*_SEARCH))
    return {(arm_id, replicate): float(total) for arm_id, replicate, total in rows}
