"""Reads the ledger for `status`, `show` and the data frames.

What is sealed can be read only once it was unsealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from indian_tune.errors import InputError, alternatives
from indian_tune.ledger import slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.address import show_url, storage_url
from indian_tune.ledger.connections import database_time
from indian_tune.ledger.database import (
    DatabaseInfo,
    about,
    connect,
    copy_database,
    integrity_errors,
    storage_errors,
)
from indian_tune.ledger.records import (
    ArmProgress,
    Look,
    StudyRecord,
    WorkerRecord,
)
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.states import Phase, State
from indian_tune.ledger.trials import TrialReader

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.engine import URL

_NONE = (None, None, None)


class LedgerReader(TrialReader):
    """Reads one database. A context manager: leaving it closes the connections."""

    @classmethod
    def open(cls, storage: str | URL | None = None) -> Self:
        """Open a database that exists.

        Args:
            storage: address or file name; by default from the environment.

        Raises:
            StorageError: missing, unreachable, not ours, or of another version.
        """
        url = storage_url(storage) if storage is None or isinstance(storage, str) else storage
        return cls(url, connect(url, write=False))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @property
    def address(self) -> str:
        """The database as it may be shown: without its password."""
        return show_url(self.url)

    @property
    def pool(self) -> sa.Pool | None:
        """Connections that others in this process may use too; ``None`` for an SQLite file.

        A connection to a server is what a lab with many workers runs out of first. To SQLite, each
        user keeps its own: they differ in how the driver begins a transaction.
        """
        return None if self._engine.dialect.name == "sqlite" else self._engine.pool

    def about(self) -> DatabaseInfo:
        """Return what the database is: kind, version, schema, journal."""
        with storage_errors(self.url):
            return about(self._engine)

    def integrity_errors(self) -> list[str]:
        """Return what is damaged in the database's file, as far as the database can tell."""
        with storage_errors(self.url):
            return integrity_errors(self._engine)

    def copy_to(self, file: Path) -> None:
        """Write a consistent copy of an SQLite database to a new file, also while it is in use.

        Raises:
            StorageError: the database is a server's, or the copy cannot be written; a file that
                exists is left as it is.
        """
        copy_database(self._engine, self.url, file)

    @transaction
    def studies(self) -> list[StudyRecord]:
        """Return all studies, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(t.study).order_by(t.study.c.id)).mappings()
            return [StudyRecord(**row) for row in rows]

    @transaction
    def now(self) -> datetime:
        """Return the time by the database's clock."""
        with self._reading() as connection:
            return database_time(connection)

    @transaction
    def longest_epoch(self, study_id: int) -> float:
        """Return the seconds of the longest recorded epoch of a run; 0 if there is none."""
        query = (
            sa.select(sa.func.coalesce(sa.func.max(t.epoch.c.seconds), 0.0))
            .join(t.run, t.run.c.id == t.epoch.c.run_id)
            .join(t.trial, t.trial.c.id == t.run.c.trial_id)
            .where(t.trial.c.study_id == study_id)
        )
        with self._reading() as connection:
            return float(connection.execute(query).scalar_one())

    @transaction
    def find_study(self, name: str) -> StudyRecord | None:
        """Return the study of that name, ``None`` when there is none."""
        with self._reading() as connection:
            query = sa.select(t.study).where(t.study.c.name == name)
            row = connection.execute(query).mappings().one_or_none()
            return None if row is None else StudyRecord(**row)

    @transaction
    def claims_registered_at(self, digest: str) -> datetime | None:
        """Return when claims of a digest were recorded (UTC), ``None`` when they were not."""
        with self._reading() as connection:
            column = t.registration.c.registered_at
            found: datetime | None = connection.scalar(
                sa.select(column).where(t.registration.c.digest == digest)
            )
            return found

    def study(self, name: str) -> StudyRecord:
        """Return the study of that name.

        Raises:
            InputError: there is none; the message lists those there are.
        """
        found = self.find_study(name)
        if found is None:
            names = [study.name for study in self.studies()]
            known = alternatives(name, names) if names else ""
            if name.endswith(".toml"):
                known += " Give the name of a registered study, not its file"
            elif not known.startswith(" Did"):
                known += "; " if known else " "
                known += "`indian-tune search STUDY.toml` registers a study"
            raise InputError(f"there is no study {name!r} in {self.address}.{known}")
        return found

    @transaction
    def looks(self, data_name: str) -> list[Look]:
        """Return which studies of this database have opened the test results of a data set.

        Args:
            data_name: of the data set.
        """
        query = (
            sa.select(t.study, t.event.c.data, t.event.c.at)
            .join(t.event, t.event.c.study_id == t.study.c.id)
            .where(t.event.c.kind == slots.UNSEALED)
            .order_by(t.event.c.id)
        )
        with self._reading() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        opened = [(row.pop("data")["by"], row.pop("at"), StudyRecord(**row)) for row in rows]
        return [
            Look(study.name, by, at) for by, at, study in opened if study.data_name == data_name
        ]

    @transaction
    def workers(self, study_id: int) -> list[WorkerRecord]:
        """Return the workers of a study, those still there first, then the latest."""
        query = (
            sa.select(t.worker)
            .where(t.worker.c.study_id == study_id)
            .order_by(t.worker.c.left_at.isnot(None), t.worker.c.started_at.desc())
        )
        with self._reading() as connection:
            return [WorkerRecord(**row) for row in connection.execute(query).mappings()]

    @transaction
    def progress(self, study_id: int) -> list[ArmProgress]:
        """Return how far every arm is in every phase that has trials; tune first."""
        where = t.trial.c.study_id == study_id
        key = (t.trial.c.arm_id, t.trial.c.phase)
        counts = sa.select(*key, t.trial.c.state, sa.func.count()).where(where)
        done = sa.select(*key, t.trial.c.state, sa.func.sum(t.run.c.epochs_done))
        done = done.join_from(t.trial, t.run).where(where).group_by(*key, t.trial.c.state)
        lowest = (
            sa.select(*key, sa.func.min(t.trial.c.value).label("value"))
            .where(where, t.trial.c.state == State.COMPLETE)
            .group_by(*key)
            .subquery()
        )
        best = (
            sa.select(*key, lowest.c.value, t.trial.c.replicate, sa.func.min(t.trial.c.index))
            .join(
                lowest,
                (lowest.c.arm_id == t.trial.c.arm_id)
                & (lowest.c.phase == t.trial.c.phase)
                & (lowest.c.value == t.trial.c.value),
            )
            .where(t.trial.c.state == State.COMPLETE)
            .group_by(*key, lowest.c.value, t.trial.c.replicate)
            .order_by(*key, t.trial.c.replicate.desc())
        )
        states: dict[tuple[int, str], dict[State, int]] = {}
        with self._reading() as connection:
            for arm_id, phase, state, count in connection.execute(
                counts.group_by(*key, t.trial.c.state)
            ):
                states.setdefault((arm_id, phase), {})[State(state)] = count
            epochs: dict[tuple[int, str], int] = {}
            still_open: dict[tuple[int, str], int] = {}
            for arm_id, phase, state, total in connection.execute(done):
                place = (arm_id, phase)
                epochs[place] = epochs.get(place, 0) + int(total)
                if not State(state).finished:
                    still_open[place] = still_open.get(place, 0) + int(total)
            # Ties go to the lower replicate and index, the last and first row here: the winner must
            # not depend on who finished first.
            bests = {
                (arm_id, phase): tuple(found) for arm_id, phase, *found in connection.execute(best)
            }
        arms = self.arms(study_id)
        return [
            ArmProgress(
                arm=arm,
                phase=phase,
                counts=states[arm.id, phase],
                best=bests.get((arm.id, phase), _NONE)[0],
                best_trial=bests.get((arm.id, phase), _NONE)[2],
                best_replicate=bests.get((arm.id, phase), _NONE)[1],
                epochs_done=epochs.get((arm.id, phase), 0),
                epochs_open=still_open.get((arm.id, phase), 0),
            )
            for phase in Phase
            for arm in arms
            if (arm.id, phase) in states
        ]
