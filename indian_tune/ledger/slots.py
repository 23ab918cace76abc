"""The budget as slots: rows for the trials of a study. Functions on an open write transaction.

Every slot exists before any worker asks for it, so the budget is exact whoever works on it. Slots
are only ever added: at registration, when the winners and the levels of their controls are frozen,
and when a study is extended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.ledger import tables as t
from indian_tune.ledger.records import replicates_of, search_name
from indian_tune.ledger.states import UNFINISHED, Phase, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from indian_tune.ledger.records import ArmPlan, TrialRecord, Winner

REGISTERED = "registered"
EXTENDED = "extended"
FROZEN = "frozen"
LEVELS = "levels"
UNSEALED = "unsealed"
VERDICT = "verdict"
RETRIED = "retried"
OWN_CODE = "own code"
PACKED = "packed"
STARTED = "started"
LOST = "worker lost"
BROKE = "broke"
TAKEN_OVER = "taken over"
REPEATED = "repeated"
PUT_BACK = "put back"
EPOCH_TIMEOUT = "epoch timeout"
RELEASED = "released"


def insert_arms(connection: sa.Connection, study_id: int, arms: Sequence[ArmPlan]) -> None:
    """Make the arms of a new study and every slot of its tune phase."""
    slots: list[dict[str, Any]] = []
    for position, plan in enumerate(arms):
        result = connection.execute(
            sa.insert(t.arm).values(
                study_id=study_id, position=position, name=plan.name, optimizer=plan.optimizer
            )
        )
        assert result.inserted_primary_key is not None
        arm_id = int(result.inserted_primary_key[0])
        slots += [
            _slot(study_id, arm_id, Phase.TUNE, replicate, index)
            for replicate in range(plan.replicates)
            for index in range(plan.trials)
        ]
    connection.execute(sa.insert(t.trial), slots)


def extend(
    connection: sa.Connection, study_id: int, trials: int | Mapping[str, int]
) -> dict[str, int]:
    """Add tune slots to every search of every arm, after those there are.

    Args:
        connection: in a write transaction.
        study_id: of the study.
        trials: how many for each search of an arm, or by the name of the arm.

    Returns:
        The new number of tune trials of a search by the name of the arm.
    """
    counts = connection.execute(
        sa.select(t.arm.c.id, t.arm.c.name, t.trial.c.replicate, sa.func.count())
        .join(t.trial, (t.trial.c.arm_id == t.arm.c.id) & (t.trial.c.phase == Phase.TUNE))
        .where(t.arm.c.study_id == study_id)
        .group_by(t.arm.c.id, t.arm.c.name, t.arm.c.position, t.trial.c.replicate)
        .order_by(t.arm.c.position, t.trial.c.replicate)
    ).all()
    added = {
        name: trials if isinstance(trials, int) else trials.get(name, 0) for _, name, _, _ in counts
    }
    connection.execute(
        sa.insert(t.trial),
        [
            _slot(study_id, arm_id, Phase.TUNE, replicate, index)
            for arm_id, name, replicate, count in counts
            for index in range(count, count + added[name])
        ],
    )
    return {name: count + added[name] for _, name, _, count in counts}


def insert_confirms(
    connection: sa.Connection,
    study_id: int,
    winners: Sequence[Winner],
    seeds: int,
    freezing: int,
    phase: Phase = Phase.CONFIRM,
) -> None:
    """Make one slot per seed for every winner that has none with its configuration.

    The slots of a search whose winner was frozen before stay as they are; those of a winner that
    was overtaken stay too, and the new winner's are numbered after them.
    """
    slots: list[dict[str, Any]] = []
    for winner in winners:
        mine = _of_search(winner.arm.id, phase, winner.replicate)
        newest = connection.execute(
            sa.select(t.trial.c.config).where(mine).order_by(t.trial.c.index.desc()).limit(1)
        ).scalar()
        config = dict(winner.config)
        if newest == config:
            continue
        count = connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()
        slots += [
            {
                **_slot(study_id, winner.arm.id, phase, winner.replicate, index, freezing),
                "config": config,
            }
            for index in range(count, count + seeds)
        ]
    if slots:
        connection.execute(sa.insert(t.trial), slots)


def insert_matches(
    connection: sa.Connection, study_id: int, candidates: Sequence[Winner], freezing: int
) -> None:
    """Make one match slot per candidate, for every search that has none with its candidates.

    Those of a winner that was overtaken stay, and the new ones are numbered after them.
    """
    slots: list[dict[str, Any]] = []
    searches: dict[tuple[int, int], list[dict[str, float]]] = {}
    for candidate in candidates:
        key = candidate.arm.id, candidate.replicate
        searches.setdefault(key, []).append(dict(candidate.config))
    for (arm_id, replicate), configs in searches.items():
        mine = _of_search(arm_id, Phase.MATCH, replicate)
        known = connection.scalars(
            sa.select(t.trial.c.config).where(mine).order_by(t.trial.c.index)
        ).all()
        if known[-len(configs) :] != configs:
            slots += [
                {
                    **_slot(study_id, arm_id, Phase.MATCH, replicate, index, freezing),
                    "config": config,
                }
                for index, config in enumerate(configs, len(known))
            ]
    if slots:
        connection.execute(sa.insert(t.trial), slots)


def insert_finalists(
    connection: sa.Connection, study_id: int, finalists: Sequence[TrialRecord]
) -> int:
    """Make a slot for every finalist that has none, under the index of its tune trial."""
    there = {
        tuple(row)
        for row in connection.execute(
            sa.select(t.trial.c.arm_id, t.trial.c.replicate, t.trial.c.index).where(
                t.trial.c.study_id == study_id, t.trial.c.phase == Phase.FINAL
            )
        )
    }
    slots = [
        {
            **_slot(study_id, each.arm_id, Phase.FINAL, each.replicate, each.index),
            "config": dict(each.config or {}),
        }
        for each in finalists
        if (each.arm_id, each.replicate, each.index) not in there
    ]
    if slots:
        connection.execute(sa.insert(t.trial), slots)
    return len(slots)


def is_frozen(connection: sa.Connection, study_id: int) -> bool:
    """Whether the winners stand: frozen, and no tune trial added or taken up again since."""
    return _latest(connection, study_id, FROZEN, EXTENDED, RETRIED) == FROZEN


def count_changes(connection: sa.Connection, study_id: int) -> int:
    """Return how often trials were added to a study, or taken up again after they had failed."""
    return sum(count_events(connection, study_id, kind) for kind in (EXTENDED, RETRIED))


def has_levels(connection: sa.Connection, study_id: int) -> bool:
    """Whether the levels of the controls of the present winners are frozen, or there are none."""
    spec = _spec(connection, study_id)
    if not any(arm.get("response_of") for arm in spec.get("arms", ())):
        return True
    return _latest(connection, study_id, FROZEN, LEVELS, EXTENDED, RETRIED) == LEVELS


def is_open(connection: sa.Connection, study_id: int, phase: Phase) -> bool:
    """Whether a trial of a phase waits or runs."""
    query = sa.select(t.trial.c.id).where(
        t.trial.c.study_id == study_id,
        t.trial.c.phase == phase,
        t.trial.c.state.in_(UNFINISHED),
    )
    return connection.execute(query.limit(1)).first() is not None


def failed_trials(connection: sa.Connection, study_id: int, phase: Phase) -> dict[str, list[int]]:
    """Return the indices of the trials of a phase that have failed, by the name of the search."""
    query = (
        sa.select(t.arm.c.name, t.trial.c.replicate, t.trial.c.index)
        .join(t.arm, t.arm.c.id == t.trial.c.arm_id)
        .where(
            t.trial.c.study_id == study_id,
            t.trial.c.phase == phase,
            t.trial.c.state == State.FAILED,
        )
        .order_by(t.arm.c.position, t.trial.c.replicate, t.trial.c.index)
    )
    failed: dict[str, list[int]] = {}
    replicates = count_replicates(connection, study_id)
    for name, replicate, index in connection.execute(query):
        failed.setdefault(search_name(name, replicate, replicates), []).append(index)
    return failed


def count_replicates(connection: sa.Connection, study_id: int) -> int:
    """Return how many searches every arm of a study has."""
    return replicates_of(_spec(connection, study_id))


def count_events(connection: sa.Connection, study_id: int, kind: str) -> int:
    """Return how many events of a kind a study has."""
    query = sa.select(sa.func.count()).where(t.event.c.study_id == study_id, t.event.c.kind == kind)
    return connection.execute(query).scalar_one()


def record_event(
    connection: sa.Connection,
    study_id: int,
    kind: str,
    data: Mapping[str, Any],
    now: datetime,
    *,
    trial_id: int | None = None,
) -> None:
    """Record something that happened to a study or to one of its trials."""
    connection.execute(
        sa.insert(t.event).values(
            study_id=study_id, trial_id=trial_id, kind=kind, data=dict(data), at=now
        )
    )


def _latest(connection: sa.Connection, study_id: int, *kinds: str) -> str | None:
    """Return the kind of the latest event of a study that is of one of some kinds."""
    query = sa.select(t.event.c.kind).where(
        t.event.c.study_id == study_id, t.event.c.kind.in_(kinds)
    )
    return connection.execute(query.order_by(t.event.c.id.desc()).limit(1)).scalar()


def _spec(connection: sa.Connection, study_id: int) -> Mapping[str, Any]:
    query = sa.select(t.study.c.spec).where(t.study.c.id == study_id)
    spec: Mapping[str, Any] = connection.execute(query).scalar_one()
    return spec


def _of_search(arm_id: int, phase: Phase, replicate: int) -> sa.ColumnElement[bool]:
    return sa.and_(
        t.trial.c.arm_id == arm_id, t.trial.c.phase == phase, t.trial.c.replicate == replicate
    )


def _slot(
    study_id: int, arm_id: int, phase: Phase, replicate: int, index: int, freezing: int = 0
) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "arm_id": arm_id,
        "phase": phase,
        "replicate": replicate,
        "index": index,
        "freezing": freezing,
        "state": State.WAITING,
        "attempts": 0,
        "told": False,
    }
