"""Writes the workers of a study: joined, alive, left or lost.

Each public method is one transaction, as in :mod:`indian_tune.ledger.writer`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from indian_tune.errors import StorageError
from indian_tune.ledger import leases, slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.address import sqlite_file
from indian_tune.ledger.connections import database_time
from indian_tune.ledger.freezing import FreezingWriter
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.writer import insert_once

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from indian_tune.ledger.records import WorkerRecord

LEASE_SECONDS = 60.0


class WorkerWriter(FreezingWriter):
    """The part of :class:`~indian_tune.ledger.repository.Ledger` that records workers.

    Attributes:
        lease: how long a claim lasts when it is not renewed.
    """

    lease = timedelta(seconds=LEASE_SECONDS)

    @transaction
    def join(
        self, study_id: int, worker_id: str, *, host: str, pid: int, started: str, device: str
    ) -> None:
        """Record a worker as there.

        Raises:
            StorageError: the database is an SQLite file at which a worker of another host works.
        """
        with self._writing() as connection:
            if connection.execute(
                sa.select(t.worker.c.id).where(t.worker.c.id == worker_id)
            ).first():
                return
            now = database_time(connection)
            if sqlite_file(self.url) is not None:
                self._refuse_second_host(connection, study_id, host, now)
            insert_once(
                connection,
                t.worker,
                "id",
                id=worker_id,
                study_id=study_id,
                host=host,
                pid=pid,
                process_started=started,
                device=device,
                started_at=now,
                heartbeat_at=now,
            )

    @transaction
    def heartbeat(self, worker_id: str) -> None:
        """Say that a worker lives, whatever others believed, and renew its leases."""
        with self._writing() as connection:
            now = database_time(connection)
            connection.execute(
                sa.update(t.worker)
                .where(t.worker.c.id == worker_id)
                .values(heartbeat_at=now, left_at=None)
            )
            leases.renew(connection, worker_id, now, self.lease)

    @transaction
    def leave(self, worker_id: str) -> int:
        """Record that a worker leaves in good order, and gives back what it holds.

        Returns:
            How many trials those were.
        """
        with self._writing() as connection:
            now = self._left(connection, worker_id)
            given = leases.give_back(connection, worker_id)
            for study, trial in given:
                data = {"worker": worker_id}
                slots.record_event(connection, study, slots.RELEASED, data, now, trial_id=trial)
            return len(given)

    def _left(self, connection: sa.Connection, worker_id: str) -> datetime:
        now = database_time(connection)
        connection.execute(
            sa.update(t.worker)
            .where(t.worker.c.id == worker_id, t.worker.c.left_at.is_(None))
            .values(left_at=now)
        )
        return now

    def record_lost_worker(
        self, worker: WorkerRecord, trials: Sequence[str], status: int | None = None
    ) -> int:
        """Record that a worker is gone without having left; its leases expire at once.

        Args:
            worker: whose process is known to be dead.
            trials: that it held, for the record.
            status: exit status of its process, if that is known.

        Returns:
            How many trials it still held.
        """
        data = {
            "worker": worker.id,
            "host": worker.host,
            "device": worker.device,
            "trials": list(trials),
            "status": status,
        }
        self.record_event(worker.study_id, slots.LOST, data)
        return self._expire(worker.id)

    @transaction
    def _expire(self, worker_id: str) -> int:
        with self._writing() as connection:
            return leases.expire(connection, worker_id, self._left(connection, worker_id))

    def _end_worker(
        self,
        connection: sa.Connection,
        worker_id: str,
        error: str,
        trials: Sequence[str],
        now: datetime,
    ) -> None:
        """Record, once, that the process of a worker is killed because it makes no progress."""
        present = (t.worker.c.id == worker_id) & t.worker.c.left_at.is_(None)
        worker = connection.execute(sa.select(t.worker).where(present)).one_or_none()
        if worker is None:
            return
        data = {
            "worker": worker_id,
            "host": worker.host,
            "device": worker.device,
            "trials": list(trials),
            "status": None,
            "reason": error.strip().splitlines()[-1],
        }
        slots.record_event(connection, worker.study_id, slots.LOST, data, now)
        connection.execute(sa.update(t.worker).where(present).values(left_at=now))
        leases.expire(connection, worker_id, now)

    def _refuse_second_host(
        self, connection: sa.Connection, study_id: int, host: str, now: datetime
    ) -> None:
        """Two hosts cannot lock one SQLite file against each other, whatever it lies on."""
        query = sa.select(t.worker.c.host).where(
            t.worker.c.study_id == study_id,
            t.worker.c.host != host,
            t.worker.c.left_at.is_(None),
            t.worker.c.heartbeat_at > now - 2 * self.lease,
        )
        other = connection.execute(query.limit(1)).scalar()
        if other is not None:
            raise StorageError(
                f"database {self.address}: a worker on host {other!r} uses it, but this host is "
                f"{host!r}. An SQLite file can be used from one host only: use a PostgreSQL "
                "server (--storage postgresql+psycopg://USER@HOST/DATABASE), or stop the other "
                f"worker and wait {2 * self.lease.total_seconds():.0f} s"
            )


def lock_worker(connection: sa.Connection, worker_id: str) -> None:
    """Let what a worker claims happen one after the other."""
    query = sa.select(t.worker.c.id).where(t.worker.c.id == worker_id)
    connection.execute(query.with_for_update(key_share=True))
