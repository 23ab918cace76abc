"""The one place that writes the ledger. Each public method is one transaction."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from indian_tune._version import __version__
from indian_tune.ledger import leases
from indian_tune.ledger import tables as t
from indian_tune.ledger.database import connect, storage_errors, storage_url
from indian_tune.ledger.reader import LedgerReader
from indian_tune.ledger.records import RunRecord, StudyRecord
from indian_tune.ledger.states import Phase, State, check_transition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.engine import URL

    from indian_tune.ledger.records import ArmPlan, EpochEntry, Lease, Winner

LEASE_SECONDS = 60.0
MAX_ATTEMPTS = 3


class Ledger(LedgerReader):
    """Reads and writes one database.

    Args of ``open``:
        storage: address or file name; a missing SQLite file is made, an older schema upgraded.

    Attributes:
        lease: how long a claim lasts when it is not renewed.
        max_attempts: how often a trial may be started before it counts as failed.
    """

    lease = timedelta(seconds=LEASE_SECONDS)
    max_attempts = MAX_ATTEMPTS

    @classmethod
    def open(cls, storage: str | URL | None = None) -> Self:
        """Open a database for writing.

        Raises:
            StorageError: unreachable, unwritable, not ours, or newer than this version.
        """
        url = storage_url(storage) if storage is None or isinstance(storage, str) else storage
        return cls(url, connect(url, create=True))

    def register(
        self, name: str, spec: Mapping[str, Any], spec_hash: str, arms: Sequence[ArmPlan]
    ) -> StudyRecord:
        """Record a study, its arms and every slot of its tune phase, or find it there.

        A study of that name that is already registered is returned as it stands, with its own
        hash: whether the two agree is for the caller to judge.
        """
        with self._writing() as connection:
            known = (
                connection.execute(sa.select(t.study).where(t.study.c.name == name))
                .mappings()
                .one_or_none()
            )
            if known is not None:
                return StudyRecord(**known)
            now = _now(connection)
            study_id = _insert(
                connection,
                t.study,
                name=name,
                spec=dict(spec),
                spec_hash=spec_hash,
                version=__version__,
                created_at=now,
            )
            slots: list[dict[str, Any]] = []
            for position, plan in enumerate(arms):
                arm_id = _insert(
                    connection,
                    t.arm,
                    study_id=study_id,
                    position=position,
                    name=plan.name,
                    optimizer=plan.optimizer,
                )
                slots += [
                    _slot(study_id, arm_id, Phase.TUNE, index) for index in range(plan.trials)
                ]
            connection.execute(sa.insert(t.trial), slots)
            _record_event(connection, study_id, "registered", {"spec_hash": spec_hash}, now)
            row = connection.execute(sa.select(t.study).where(t.study.c.id == study_id))
            return StudyRecord(**row.mappings().one())

    def freeze(self, study_id: int, winners: Sequence[Winner], seeds: Sequence[int]) -> bool:
        """Record the winners and make one confirm slot per winner and seed.

        Returns:
            Whether this call froze the study; ``False`` when it was frozen before.
        """
        with self._writing() as connection:
            # Two workers that see the end of the phase together must freeze one after the other.
            connection.execute(
                sa.select(t.study.c.id).where(t.study.c.id == study_id).with_for_update()
            )
            if _has_event(connection, study_id, "frozen"):
                return False
            now = _now(connection)
            data = {
                winner.arm.name: {
                    "trial": winner.trial.index,
                    "config": dict(winner.trial.config or {}),
                    "value": winner.trial.value,
                }
                for winner in winners
            }
            _record_event(
                connection, study_id, "frozen", {"winners": data, "seeds": list(seeds)}, now
            )
            slots = [
                {
                    **_slot(study_id, winner.arm.id, Phase.CONFIRM, index),
                    "config": dict(winner.trial.config or {}),
                }
                for winner in winners
                for index in range(len(seeds))
            ]
            if slots:
                connection.execute(sa.insert(t.trial), slots)
            return True

    def join(
        self, study_id: int, worker_id: str, *, host: str, pid: int, started: str, device: str
    ) -> None:
        """Record a worker as there."""
        with self._writing() as connection:
            now = _now(connection)
            connection.execute(
                sa.insert(t.worker).values(
                    id=worker_id,
                    study_id=study_id,
                    host=host,
                    pid=pid,
                    process_started=started,
                    device=device,
                    started_at=now,
                    heartbeat_at=now,
                )
            )

    def heartbeat(self, worker_id: str) -> None:
        """Say that a worker lives, and renew its leases."""
        with self._writing() as connection:
            now = _now(connection)
            connection.execute(
                sa.update(t.worker).where(t.worker.c.id == worker_id).values(heartbeat_at=now)
            )
            leases.renew(connection, worker_id, now, self.lease)

    def leave(self, worker_id: str) -> int:
        """Record that a worker is gone; its leases expire at once.

        Returns:
            How many trials it still held.
        """
        with self._writing() as connection:
            now = _now(connection)
            connection.execute(
                sa.update(t.worker)
                .where(t.worker.c.id == worker_id, t.worker.c.left_at.is_(None))
                .values(left_at=now)
            )
            return leases.expire(connection, worker_id, now)

    def claim(self, study_id: int, phase: Phase, worker_id: str) -> Lease | None:
        """Lease the next trial that waits or was abandoned.

        A trial whose attempts are used up (each ended with its worker's death) becomes FAILED
        instead, and the next one is taken.

        Returns:
            The lease, or ``None`` when nothing can be claimed now.
        """
        with self._writing() as connection:
            now = _now(connection)
            while True:
                trial = leases.next_claimable(connection, study_id, phase, now)
                if trial is None:
                    return None
                if trial.attempts < self.max_attempts:
                    return leases.grant(connection, trial, worker_id, now, self.lease)
                reason = f"{trial.attempts} attempts ended with the death of their worker"
                check_transition(f"trial {trial.id}", trial.state, State.FAILED)
                connection.execute(
                    sa.update(t.trial)
                    .where(t.trial.c.id == trial.id)
                    .values(state=State.FAILED, reason=reason, finished_at=now, **leases.NO_LEASE)
                )
                _close_runs(connection, trial.id, State.FAILED, now)
                _record_event(
                    connection, study_id, "failed", {"reason": reason}, now, trial_id=trial.id
                )

    def begin(
        self,
        lease: Lease,
        config: Mapping[str, float],
        optuna_trial_id: int,
        *,
        seeds: Sequence[int],
        epochs: int,
        provenance: Mapping[str, Any],
    ) -> list[RunRecord]:
        """Store what the leased trial is to train, and make its runs or take them up.

        Args:
            lease: of the trial.
            config: the whole configuration; a trial that has one keeps it.
            optuna_trial_id: its projection in Optuna's tables.
            seeds: one run each.
            epochs: length of a run.
            provenance: of the worker; kept with the runs that are not finished yet.

        Returns:
            The trial's runs by seed; those that an earlier attempt finished keep their state.

        Raises:
            LeaseLostError: the trial was taken over.
        """
        with self._writing() as connection:
            now = _now(connection)
            leases.write_under(
                lease,
                connection,
                config=dict(lease.trial.config or config),
                optuna_trial_id=optuna_trial_id,
                lease_expires_at=now + self.lease,
            )
            mine = t.run.c.trial_id == lease.trial.id
            known = set(connection.scalars(sa.select(t.run.c.seed).where(mine)))
            new = [
                {
                    "trial_id": lease.trial.id,
                    "seed": seed,
                    "state": State.WAITING,
                    "epochs_planned": epochs,
                    "epochs_done": 0,
                }
                for seed in seeds
                if seed not in known
            ]
            if new:
                connection.execute(sa.insert(t.run), new)
            connection.execute(
                sa.update(t.run)
                .where(mine, t.run.c.state.in_((State.WAITING, State.RUNNING)))
                .values(
                    state=State.RUNNING,
                    provenance=dict(provenance),
                    started_at=sa.func.coalesce(t.run.c.started_at, sa.bindparam("now", now)),
                )
            )
            rows = connection.execute(sa.select(t.run).where(mine).order_by(t.run.c.seed))
            return [RunRecord(**{**row, "state": State(row["state"])}) for row in rows.mappings()]

    def record_epochs(self, lease: Lease, entries: Sequence[EpochEntry]) -> None:
        """Store one epoch of each run that trains together, and renew the lease.

        An epoch that is there already is left as it is: a run resumed from a checkpoint trains
        the epochs after it again, to bitwise the same result.

        Raises:
            LeaseLostError: the trial was taken over; nothing is stored.
        """
        with self._writing() as connection:
            now = _now(connection)
            leases.write_under(lease, connection, lease_expires_at=now + self.lease)
            mine = sa.select(t.run.c.id, t.run.c.epochs_done)
            rows = connection.execute(mine.where(t.run.c.trial_id == lease.trial.id))
            done = {run_id: epochs for run_id, epochs in rows}  # noqa: C416 - rows are not pairs
            new = [entry for entry in entries if entry.epoch > done[entry.run_id]]
            if not new:
                return
            connection.execute(sa.insert(t.epoch), [_open_metrics(entry) for entry in new])
            connection.execute(sa.insert(t.sealed_epoch), [_sealed_metrics(e) for e in new])
            for entry in new:
                connection.execute(
                    sa.update(t.run)
                    .where(t.run.c.id == entry.run_id)
                    .values(epochs_done=entry.epoch)
                )

    def finish_run(self, lease: Lease, run_id: int, state: State) -> None:
        """Record how one run of the leased trial ended."""
        with self._writing() as connection:
            now = _now(connection)
            leases.write_under(lease, connection, lease_expires_at=now + self.lease)
            _finish_run(connection, run_id, state, now)

    def finish(
        self, lease: Lease, state: State, value: float | None, reason: str | None = None
    ) -> None:
        """Record the outcome of the leased trial and end the lease.

        Runs that are still open get the trial's state.

        Args:
            lease: of the trial.
            state: one of the finished states.
            value: score under the study's objective; ``None`` for FAILED.
            reason: why it was pruned, diverged or failed, in a few words.
        """
        assert state.finished
        with self._writing() as connection:
            now = _now(connection)
            check_transition(f"trial {lease.trial.id}", lease.trial.state, state)
            leases.write_under(
                lease,
                connection,
                state=state,
                value=_finite(value),
                reason=reason,
                finished_at=now,
                **leases.NO_LEASE,
            )
            _close_runs(connection, lease.trial.id, state, now)

    def break_off(self, lease: Lease, run_ids: Sequence[int], error: str) -> State:
        """Record that an attempt ended with an exception, and keep its traceback.

        Returns:
            WAITING when the trial will be tried again, FAILED when its attempts are used up.
        """
        with self._writing() as connection:
            now = _now(connection)
            state = State.FAILED if lease.trial.attempts >= self.max_attempts else State.WAITING
            reason = error.strip().splitlines()[-1]
            check_transition(f"trial {lease.trial.id}", lease.trial.state, state)
            leases.write_under(
                lease,
                connection,
                state=state,
                reason=reason,
                finished_at=now if state.finished else None,
                **leases.NO_LEASE,
            )
            if run_ids:
                connection.execute(
                    sa.update(t.run).where(t.run.c.id.in_(run_ids)).values(error=error)
                )
            if state.finished:
                _close_runs(connection, lease.trial.id, state, now)
            _record_event(
                connection,
                lease.trial.study_id,
                "broke",
                {"attempt": lease.trial.attempts, "reason": reason, "traceback": error},
                now,
                trial_id=lease.trial.id,
            )
            return state

    def release(self, lease: Lease) -> None:
        """Give the leased trial back untouched: it does not count as an attempt."""
        with self._writing() as connection:
            check_transition(f"trial {lease.trial.id}", lease.trial.state, State.WAITING)
            leases.write_under(
                lease,
                connection,
                state=State.WAITING,
                attempts=t.trial.c.attempts - 1,
                **leases.NO_LEASE,
            )

    def mark_told(self, trial_id: int) -> None:
        """Record that Optuna knows the outcome of a finished trial."""
        with self._writing() as connection:
            connection.execute(sa.update(t.trial).where(t.trial.c.id == trial_id).values(told=True))

    def record_event(
        self, study_id: int, kind: str, data: Mapping[str, Any], trial_id: int | None = None
    ) -> None:
        """Record something that happened."""
        with self._writing() as connection:
            _record_event(connection, study_id, kind, data, _now(connection), trial_id=trial_id)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        engine = self._engine.execution_options(writes=True)
        with storage_errors(self.url), engine.begin() as connection:
            yield connection


def _now(connection: sa.Connection) -> datetime:
    """The one clock of a database: the server's, since the hosts' clocks may differ."""
    if connection.dialect.name == "postgresql":
        now = connection.scalar(sa.select(sa.func.clock_timestamp()))
        assert isinstance(now, datetime)
        return now
    return datetime.fromtimestamp(time.time(), UTC)


def _insert(connection: sa.Connection, table: sa.Table, **values: Any) -> int:
    result = connection.execute(sa.insert(table).values(**values))
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def _slot(study_id: int, arm_id: int, phase: Phase, index: int) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "arm_id": arm_id,
        "phase": phase,
        "index": index,
        "state": State.WAITING,
        "attempts": 0,
        "told": False,
    }


def _record_event(
    connection: sa.Connection,
    study_id: int,
    kind: str,
    data: Mapping[str, Any],
    now: datetime,
    *,
    trial_id: int | None = None,
) -> None:
    connection.execute(
        sa.insert(t.event).values(
            study_id=study_id, trial_id=trial_id, kind=kind, data=dict(data), at=now
        )
    )


def _has_event(connection: sa.Connection, study_id: int, kind: str) -> bool:
    query = sa.select(t.event.c.id).where(t.event.c.study_id == study_id, t.event.c.kind == kind)
    return connection.execute(query.limit(1)).first() is not None


def _close_runs(connection: sa.Connection, trial_id: int, state: State, now: datetime) -> None:
    connection.execute(
        sa.update(t.run)
        .where(t.run.c.trial_id == trial_id)
        .where(t.run.c.state.in_((State.WAITING, State.RUNNING)))
        .values(state=state, finished_at=now)
    )


def _finish_run(connection: sa.Connection, run_id: int, state: State, now: datetime) -> None:
    old = connection.scalar(sa.select(t.run.c.state).where(t.run.c.id == run_id))
    check_transition(f"run {run_id}", State(str(old)), state)
    connection.execute(
        sa.update(t.run).where(t.run.c.id == run_id).values(state=state, finished_at=now)
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _open_metrics(entry: EpochEntry) -> dict[str, Any]:
    return {
        "run_id": entry.run_id,
        "epoch": entry.epoch,
        "step": entry.step,
        "train_loss": _finite(entry.train_loss),
        "train_accuracy": _finite(entry.train_accuracy),
        "validation_loss": _finite(entry.validation_loss),
        "validation_accuracy": _finite(entry.validation_accuracy),
        "seconds": entry.seconds,
    }


def _sealed_metrics(entry: EpochEntry) -> dict[str, Any]:
    return {
        "run_id": entry.run_id,
        "epoch": entry.epoch,
        "test_loss": _finite(entry.test_loss),
        "test_accuracy": _finite(entry.test_accuracy),
    }
