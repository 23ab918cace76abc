"""Writes changes to a whole study: registering, extending, retrying, events.

Each public method is one transaction. A transaction may be repeated after its answer was lost,
and then changes nothing more.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from indian_tune._version import __version__
from indian_tune.errors import InputError, StorageError
from indian_tune.ledger import slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.address import storage_url
from indian_tune.ledger.connections import CLOCK, database_time
from indian_tune.ledger.database import connect, storage_errors
from indian_tune.ledger.reader import LedgerReader
from indian_tune.ledger.records import StudyRecord
from indian_tune.ledger.retry import retry_transient, transaction
from indian_tune.ledger.states import Phase, State, check_transition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.engine import URL

    from indian_tune.ledger.records import ArmPlan


class StudyWriter(LedgerReader):
    """Opens a database for writing, and writes what concerns a study as a whole."""

    def __init__(self, url: URL, engine: sa.Engine) -> None:
        super().__init__(url, engine)
        self._writer = engine.execution_options(writes=True)

    @classmethod
    def open(
        cls,
        storage: str | URL | None = None,
        *,
        create: bool = True,
        patient: bool = False,
        clock: Callable[[], datetime] | None = None,
    ) -> Self:
        """Open a database for writing.

        Args:
            storage: address or file name; an older schema is brought up to date.
            create: whether a missing SQLite file is made, and a database without studies taken.
            patient: whether to wait for a server that does not answer: for a worker, whose
                database answered a moment ago.
            clock: tells the time in place of the database, where time is simulated.

        Raises:
            StorageError: unreachable, unwritable, not ours, or newer than this version.
        """
        url = storage_url(storage) if storage is None or isinstance(storage, str) else storage

        def attempt() -> sa.Engine:
            return connect(url, write=True, create=create)

        engine = retry_transient(attempt) if patient else attempt()
        return cls(url, engine if clock is None else engine.execution_options(**{CLOCK: clock}))

    def register(
        self,
        name: str,
        spec: Mapping[str, Any],
        spec_hash: str,
        arms: Sequence[ArmPlan],
        *,
        host: str | None = None,
    ) -> StudyRecord:
        """Record a study, its arms and every slot of its tune phase, or find it there.

        A study of that name that is already registered is returned as it is, with its own
        hash: whether the two agree is for the caller to judge.

        Args:
            name: of the study.
            spec: the whole study as plain data.
            spec_hash: of the spec.
            arms: with their budgets.
            host: where this happens; workers on another one must not share an SQLite file.
        """
        try:
            return self._register(name, spec, spec_hash, arms, host)
        except StorageError as error:
            if not isinstance(error.__cause__, sa.exc.IntegrityError):
                raise
            # Another process has registered it since this one looked.
            return self.study(name)

    @transaction
    def _register(
        self,
        name: str,
        spec: Mapping[str, Any],
        spec_hash: str,
        arms: Sequence[ArmPlan],
        host: str | None,
    ) -> StudyRecord:
        with self._writing() as connection:
            known = sa.select(t.study).where(t.study.c.name == name)
            row = connection.execute(known).mappings().one_or_none()
            if row is not None:
                return StudyRecord(**row)
            now = database_time(connection)
            connection.execute(
                sa.insert(t.study).values(
                    name=name,
                    spec=dict(spec),
                    spec_hash=spec_hash,
                    version=__version__,
                    created_at=now,
                    host=host,
                )
            )
            study = StudyRecord(**connection.execute(known).mappings().one())
            slots.insert_arms(connection, study.id, arms)
            slots.record_event(
                connection, study.id, slots.REGISTERED, {"spec_hash": spec_hash, "host": host}, now
            )
            return study

    @transaction
    def register_claims(self, digest: str, claims: Mapping[str, Any]) -> datetime:
        """Record claims about runs that are trained elsewhere, once.

        Args:
            digest: SHA-256 of the claims.
            claims: as plain data.

        Returns:
            When claims of this digest were first recorded (UTC).
        """
        with self._writing() as connection:
            known = sa.select(t.registration.c.registered_at).where(
                t.registration.c.digest == digest
            )
            at: datetime | None = connection.scalar(known)
            if at is None:
                insert_once(
                    connection,
                    t.registration,
                    "digest",
                    digest=digest,
                    claims=dict(claims),
                    version=__version__,
                    registered_at=database_time(connection),
                )
                at = connection.scalars(known).one()
            return at

    def extend(
        self,
        study_id: int,
        trials: int | Mapping[str, int],
        spaces: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> dict[str, int]:
        """Add tune trials to arms; those there are stay as they are.

        Winners that were frozen before no longer stand: `freeze` judges them again when the new
        trials are finished.

        Args:
            study_id: of the study.
            trials: how many to add to each search of an arm, or by the name of the arm.
            spaces: what the new trials of an arm are drawn from, where that is another space than
                before.

        Returns:
            The new number of tune trials of a search by the name of the arm.

        Raises:
            InputError: ``trials`` is less than 1.
        """
        most = trials if isinstance(trials, int) else max(trials.values(), default=0)
        if most < 1:
            raise InputError(f"trials = {trials} to add must be at least 1")
        return self._extend(study_id, trials, dict(spaces or {}), secrets.token_hex(16))

    @transaction
    def _extend(
        self,
        study_id: int,
        trials: int | Mapping[str, int],
        spaces: Mapping[str, Mapping[str, Any]],
        token: str,
    ) -> dict[str, int]:
        with self._writing() as connection:
            lock_study(connection, study_id)
            query = sa.select(t.event.c.data).where(
                t.event.c.study_id == study_id, t.event.c.kind == slots.EXTENDED
            )
            for data in connection.scalars(query):
                if data["token"] == token:
                    return dict(data["trials"])
            totals = slots.extend(connection, study_id, trials)
            added = {
                arm: trials if isinstance(trials, int) else trials.get(arm, 0) for arm in totals
            }
            data = {
                "added": added,
                "trials": totals,
                "spaces": {
                    arm: {"first": totals[arm] - added[arm], "space": dict(space)}
                    for arm, space in spaces.items()
                },
                "token": token,
            }
            slots.record_event(
                connection, study_id, slots.EXTENDED, data, database_time(connection)
            )
            return totals

    @transaction
    def retry(self, study_id: int) -> int:
        """Put the failed trials of a study back, to be tried again with a full set of attempts.

        What they recorded before they failed stays, and they continue from there. Winners that were
        frozen without a tune or match trial that is put back are judged again. A trial that nobody
        holds and that has killed workers, but not been given up yet, gets a full set of attempts
        too.

        Returns:
            How many failed trials there were.
        """
        with self._writing() as connection:
            lock_study(connection, study_id)
            now = database_time(connection)
            abandoned = connection.scalars(
                sa.select(t.trial.c.id).where(
                    t.trial.c.study_id == study_id,
                    t.trial.c.state == State.RUNNING,
                    t.trial.c.attempts > 0,
                    t.trial.c.lease_expires_at <= now,
                )
            ).all()
            connection.execute(
                sa.update(t.trial).where(t.trial.c.id.in_(abandoned)).values(attempts=0)
            )
            for trial_id in abandoned:
                slots.record_event(connection, study_id, slots.PUT_BACK, {}, now, trial_id=trial_id)
            failed = sa.select(t.trial.c.id, t.trial.c.phase).where(
                t.trial.c.study_id == study_id, t.trial.c.state == State.FAILED
            )
            phases = {row.id: Phase(row.phase) for row in connection.execute(failed)}
            if not phases:
                return 0
            for trial_id in phases:
                check_transition(f"trial {trial_id}", State.FAILED, State.WAITING)
            connection.execute(
                sa.update(t.trial)
                .where(t.trial.c.id.in_(phases))
                .values(
                    state=State.WAITING,
                    attempts=0,
                    reason=None,
                    finished_at=None,
                    optuna_trial_id=None,
                    told=False,
                )
            )
            connection.execute(
                sa.update(t.run)
                .where(t.run.c.trial_id.in_(phases), t.run.c.state == State.FAILED)
                .values(state=State.WAITING, finished_at=None)
            )
            for trial_id in phases:
                slots.record_event(connection, study_id, slots.PUT_BACK, {}, now, trial_id=trial_id)
            if {Phase.TUNE, Phase.FINAL, Phase.MATCH} & set(phases.values()):
                data = {"trials": len(phases)}
                slots.record_event(connection, study_id, slots.RETRIED, data, now)
            return len(phases)

    @transaction
    def unseal(self, study_id: int, by: str) -> bool:
        """Record that the test results of a study may be read from now on.

        The event tells whether every trial was finished by then: what is decided after test
        results are open is no longer independent of them.

        Args:
            study_id: of the study.
            by: the command, for the record.

        Returns:
            Whether this call opened them; ``False`` when they were open.
        """
        with self._writing() as connection:
            lock_study(connection, study_id)
            if slots.count_events(connection, study_id, slots.UNSEALED):
                return False
            finished = (
                slots.is_frozen(connection, study_id)
                and slots.has_levels(connection, study_id)
                and not any(slots.is_open(connection, study_id, phase) for phase in Phase)
            )
            slots.record_event(
                connection,
                study_id,
                slots.UNSEALED,
                {"by": by, "finished": finished, "version": __version__},
                database_time(connection),
            )
            return True

    @transaction
    def mark_told_to_optuna(self, trial_id: int) -> None:
        """Record that Optuna knows the outcome of a finished trial."""
        with self._writing() as connection:
            connection.execute(sa.update(t.trial).where(t.trial.c.id == trial_id).values(told=True))

    @transaction
    def link(self, trial_id: int, optuna_trial_id: int | None) -> None:
        """Record which Optuna trial shows a trial; ``None`` when it has none any more."""
        with self._writing() as connection:
            connection.execute(
                sa.update(t.trial)
                .where(t.trial.c.id == trial_id)
                .values(optuna_trial_id=optuna_trial_id, told=False)
            )

    @transaction
    def unlink(self, study_id: int) -> None:
        """Forget which Optuna trials show the trials of a study: they are to be made again."""
        with self._writing() as connection:
            connection.execute(
                sa.update(t.trial)
                .where(t.trial.c.study_id == study_id)
                .values(optuna_trial_id=None, told=False)
            )

    @transaction
    def record_event(
        self, study_id: int, kind: str, data: Mapping[str, Any], trial_id: int | None = None
    ) -> None:
        """Record something that happened; it may stand twice when an answer was lost."""
        with self._writing() as connection:
            now = database_time(connection)
            slots.record_event(connection, study_id, kind, data, now, trial_id=trial_id)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with storage_errors(self.url), self._writer.begin() as connection:
            yield connection


def insert_once(connection: sa.Connection, table: sa.Table, key: str, **values: object) -> None:
    """Insert a row unless there is one with its key.

    Having looked is not enough: another transaction may commit the row after the look, such as the
    first attempt at this one, which its worker takes for lost.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(table).values(**values)
    connection.execute(insert.on_conflict_do_nothing(index_elements=[key]))


def lock_study(connection: sa.Connection, study_id: int) -> None:
    """Let what concerns a study as a whole happen one after the other."""
    connection.execute(sa.select(t.study.c.id).where(t.study.c.id == study_id).with_for_update())
