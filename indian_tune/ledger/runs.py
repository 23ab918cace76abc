"""Runs and their epochs. Functions on an open write transaction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.ledger import tables as t
from indian_tune.ledger.records import RunRecord
from indian_tune.ledger.states import UNFINISHED, State, check_transition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from indian_tune.training.run import EpochRecord

_ADVANCE = (
    sa.update(t.run)
    .where(t.run.c.id == sa.bindparam("run"), t.run.c.epochs_done < sa.bindparam("done"))
    .values(epochs_done=sa.bindparam("done"))
)
RESUMED = "resumed_from"
"""Name in the provenance of a run, under which it is kept how its first epochs were computed."""

_INSERT_OPEN = sa.insert(t.epoch)
_INSERT_SEALED = sa.insert(t.sealed_epoch)
_INSERT_EXAMPLES = sa.insert(t.sealed_example)


def start(
    connection: sa.Connection,
    trial_id: int,
    seeds: Sequence[int],
    epochs: int,
    provenance: Mapping[str, Any],
    now: datetime,
) -> list[RunRecord]:
    """Make the runs of a trial that are not there yet, start the open ones, return all by seed."""
    mine = t.run.c.trial_id == trial_id
    known = set(connection.scalars(sa.select(t.run.c.seed).where(mine)))
    new = [
        {
            "trial_id": trial_id,
            "seed": seed,
            "state": State.RUNNING,
            "epochs_planned": epochs,
            "epochs_done": 0,
            "provenance": dict(provenance),
            "started_at": now,
        }
        for seed in seeds
        if seed not in known
    ]
    if known:
        connection.execute(
            sa.update(t.run).where(mine, t.run.c.state.in_(UNFINISHED)).values(state=State.RUNNING)
        )
        # Ray's driver does not know it yet.
        if provenance:
            describe(connection, trial_id, provenance)
    if new:
        connection.execute(sa.insert(t.run), new)
    rows = connection.execute(sa.select(t.run).where(mine).order_by(t.run.c.seed))
    return [RunRecord(**{**row, "state": State(row["state"])}) for row in rows.mappings()]


def describe(connection: sa.Connection, trial_id: int, provenance: Mapping[str, Any]) -> None:
    """Store what the open runs of a trial are computed with from here.

    A run with epochs that were computed otherwise is marked: its bits are of neither way.
    """
    columns = (t.run.c.id, t.run.c.epochs_done, t.run.c.provenance)
    mine = (t.run.c.trial_id == trial_id, t.run.c.state.in_(UNFINISHED))
    for run_id, done, before in connection.execute(sa.select(*columns).where(*mine)).all():
        described = {**provenance, **_mark(before or {}, done, provenance)}
        connection.execute(
            sa.update(t.run).where(t.run.c.id == run_id).values(provenance=described)
        )


def _mark(before: Mapping[str, Any], done: int, now: Mapping[str, Any]) -> dict[str, str]:
    """Return what a run that is resumed was computed with before, where that was not the same."""
    said = [before[RESUMED]] if RESUMED in before else []
    changed = [f"{name} {before[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if changed and done:
        said.append(f"epochs to {done}: {', '.join(changed)}")
    return {RESUMED: "; ".join(said)} if said else {}


def record(connection: sa.Connection, records: Mapping[int, EpochRecord]) -> bool:
    """Store those epochs that are not there yet, by run id; return whether there were any."""
    new = [
        (run_id, each)
        for run_id, each in records.items()
        if connection.execute(_ADVANCE, {"run": run_id, "done": each.epoch}).rowcount
    ]
    if new:
        connection.execute(
            _INSERT_OPEN,
            [
                {
                    "run_id": run_id,
                    "epoch": each.epoch,
                    "step": each.step,
                    "metrics": _stored(each.metrics),
                    "seconds": each.seconds,
                }
                for run_id, each in new
            ],
        )
        connection.execute(
            _INSERT_SEALED,
            [
                {"run_id": run_id, "epoch": each.epoch, "metrics": _stored(each.sealed)}
                for run_id, each in new
            ],
        )
        examples = [
            {
                "run_id": run_id,
                "images": len(each.test_correct),
                "correct": pack(each.test_correct),
            }
            for run_id, each in new
            if each.test_correct is not None
        ]
        if examples:
            connection.execute(_INSERT_EXAMPLES, examples)
    return bool(new)


def epochs_done(connection: sa.Connection, trial_id: int) -> int:
    """Return how many epochs of a trial are recorded, over all of its runs."""
    query = sa.select(sa.func.coalesce(sa.func.sum(t.run.c.epochs_done), 0))
    return int(connection.execute(query.where(t.run.c.trial_id == trial_id)).scalar_one())


def finish(connection: sa.Connection, run_id: int, state: State, now: datetime) -> None:
    """Record how a run ended; a repetition changes nothing.

    Raises:
        IllegalTransitionError: it has ended in another way.
    """
    old = State(str(connection.scalar(sa.select(t.run.c.state).where(t.run.c.id == run_id))))
    if old is state:
        return
    check_transition(f"run {run_id}", old, state)
    connection.execute(
        sa.update(t.run).where(t.run.c.id == run_id).values(state=state, finished_at=now)
    )


def close(connection: sa.Connection, trial_id: int, state: State, now: datetime) -> None:
    """End the runs of a trial that are still open as the trial itself ended."""
    connection.execute(
        sa.update(t.run)
        .where(t.run.c.trial_id == trial_id, t.run.c.state.in_(UNFINISHED))
        .values(state=state, finished_at=now)
    )


def pack(correct: str) -> bytes:
    """Return a text of ones and zeros as bits, first one first, filled up with zeros."""
    count = -(-len(correct) // 8)
    return int(correct.ljust(8 * count, "0"), 2).to_bytes(count) if count else b""


def unpack(correct: bytes, count: int) -> list[bool]:
    """Return the first ``count`` of packed bits."""
    return [bool(byte >> (7 - bit) & 1) for byte in correct for bit in range(8)][:count]


def finite(value: float | None) -> float | None:
    """Return the value as it is stored: ``None`` when it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def measured(stored: Mapping[str, float | None]) -> dict[str, float]:
    """Return metrics as they were before they were stored."""
    return {name: math.nan if value is None else value for name, value in stored.items()}


def _stored(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: finite(value) for name, value in metrics.items()}
