"""Reads runs and their epochs and, once unsealed, their test results."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from indian_tune.errors import SealedError
from indian_tune.ledger import slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.database import storage_errors
from indian_tune.ledger.records import RunRecord
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.runs import measured, unpack
from indian_tune.ledger.states import Phase, State
from indian_tune.training.run import EpochRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import URL


def chosen_trials(
    study_id: int,
    phase: Phase | None,
    arm_id: int | None,
    states: Sequence[State] | None,
    replicate: int | None = None,
) -> list[sa.ColumnElement[bool]]:
    """Return what a query for some of a study's trials asks of them."""
    wanted = [t.trial.c.study_id == study_id]
    if phase is not None:
        wanted.append(t.trial.c.phase == phase)
    if arm_id is not None:
        wanted.append(t.trial.c.arm_id == arm_id)
    if states is not None:
        wanted.append(t.trial.c.state.in_(states))
    if replicate is not None:
        wanted.append(t.trial.c.replicate == replicate)
    return wanted


class ResultReader:
    """The part of :class:`~indian_tune.ledger.reader.LedgerReader` that reads runs.

    Args:
        url: of the database.
        engine: on it.
    """

    def __init__(self, url: URL, engine: sa.Engine) -> None:
        self.url = url
        self._engine = engine

    def runs(self, trial_id: int) -> list[RunRecord]:
        """Return the runs of a trial by seed."""
        return self._runs(t.run.c.trial_id == trial_id)

    def study_runs(self, study_id: int, phase: Phase | None = None) -> list[RunRecord]:
        """Return all runs of a study, ordered by trial and seed."""
        condition = t.trial.c.study_id == study_id
        if phase is not None:
            condition &= t.trial.c.phase == phase
        return self._runs(condition)

    def epochs(self, run_id: int) -> list[EpochRecord]:
        """Return the open metrics of a run by epoch."""
        return self._epochs(t.run.c.id == run_id).get(run_id, [])

    def study_epochs(
        self, study_id: int, phase: Phase | None = None, *, sealed: bool = False
    ) -> dict[int, list[EpochRecord]]:
        """Return what was measured of all runs of a study: run id → records by epoch.

        Args:
            study_id: of the study.
            phase: of this phase alone.
            sealed: whether to read the test metrics too.

        Raises:
            SealedError: the test metrics are asked for and nobody has unsealed them.
        """
        if sealed:
            self._check_unsealed(study_id)
        return self._epochs(*chosen_trials(study_id, phase, None, None), sealed=sealed)

    @transaction
    def unsealed(self, study_id: int) -> bool:
        """Whether the test results of a study have been unsealed."""
        with self._reading() as connection:
            return slots.count_events(connection, study_id, slots.UNSEALED) > 0

    @transaction
    def runs_without(self, study_id: int, metric: str) -> set[int]:
        """Return the complete runs that lack a finite sealed metric in an epoch, by id.

        No value is returned, so this may be asked before the test results are unsealed.

        Args:
            study_id: of the study.
            metric: name in the record, such as ``test_accuracy``.
        """
        query = (
            sa.select(t.epoch.c.run_id, t.sealed_epoch.c.metrics)
            .join(t.run, t.run.c.id == t.epoch.c.run_id)
            .join(t.trial, t.trial.c.id == t.run.c.trial_id)
            .join(
                t.sealed_epoch,
                (t.sealed_epoch.c.run_id == t.epoch.c.run_id)
                & (t.sealed_epoch.c.epoch == t.epoch.c.epoch),
                isouter=True,
            )
            .where(t.trial.c.study_id == study_id, t.run.c.state == State.COMPLETE)
        )
        with self._reading() as connection:
            return {
                row.run_id
                for row in connection.execute(query)
                if (row.metrics or {}).get(metric) is None
            }

    @transaction
    def sealed_examples(self, study_id: int) -> dict[int, list[bool]]:
        """Return which test examples each run classifies correctly at its end.

        Returns:
            Run id → whether it is right, for every test example.

        Raises:
            SealedError: nobody has unsealed them.
        """
        self._check_unsealed(study_id)
        query = (
            sa.select(t.sealed_example)
            .join(t.run, t.run.c.id == t.sealed_example.c.run_id)
            .join(t.trial, t.trial.c.id == t.run.c.trial_id)
            .where(t.trial.c.study_id == study_id)
            .order_by(t.sealed_example.c.run_id)
        )
        with self._reading() as connection:
            return {
                row.run_id: unpack(row.correct, row.images) for row in connection.execute(query)
            }

    @transaction
    def last_epochs(self, trial_ids: Sequence[int]) -> dict[int, list[EpochRecord]]:
        """Return the last recorded epoch of every run of some trials, by trial and run."""
        last = self._epochs(t.run.c.trial_id.in_(trial_ids), t.run.c.epochs_done == t.epoch.c.epoch)
        query = sa.select(t.run.c.id, t.run.c.trial_id).where(t.run.c.trial_id.in_(trial_ids))
        found: dict[int, list[EpochRecord]] = {trial_id: [] for trial_id in trial_ids}
        with self._reading() as connection:
            for run_id, trial_id in connection.execute(query.order_by(t.run.c.id)):
                found[trial_id] += last.get(run_id, [])
        return found

    def _check_unsealed(self, study_id: int) -> None:
        if not self.unsealed(study_id):
            raise SealedError(
                "the test results of this study are sealed: open them with `indian-tune analyze "
                "STUDY` or `indian-tune export STUDY --unseal`; the opening is recorded"
            )

    @transaction
    def _runs(self, condition: sa.ColumnElement[bool]) -> list[RunRecord]:
        query = (
            sa.select(t.run)
            .join(t.trial, t.trial.c.id == t.run.c.trial_id)
            .where(condition)
            .order_by(t.run.c.trial_id, t.run.c.seed)
        )
        with self._reading() as connection:
            return [
                RunRecord(**{**row, "state": State(row["state"])})
                for row in connection.execute(query).mappings()
            ]

    @transaction
    def _epochs(
        self, *conditions: sa.ColumnElement[bool], sealed: bool = False
    ) -> dict[int, list[EpochRecord]]:
        query = (
            sa.select(t.epoch)
            .join(t.run, t.run.c.id == t.epoch.c.run_id)
            .join(t.trial, t.trial.c.id == t.run.c.trial_id)
            .where(*conditions)
            .order_by(t.epoch.c.run_id, t.epoch.c.epoch)
        )
        if sealed:
            query = query.add_columns(t.sealed_epoch.c.metrics.label("sealed")).join(
                t.sealed_epoch,
                (t.sealed_epoch.c.run_id == t.epoch.c.run_id)
                & (t.sealed_epoch.c.epoch == t.epoch.c.epoch),
                isouter=True,
            )
        found: dict[int, list[EpochRecord]] = {}
        with self._reading() as connection:
            for row in connection.execute(query):
                record = EpochRecord(
                    epoch=row.epoch,
                    step=row.step,
                    metrics=measured(row.metrics),
                    seconds=row.seconds,
                    sealed=measured(row.sealed or {}) if sealed else {},
                )
                found.setdefault(row.run_id, []).append(record)
        return found

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with storage_errors(self.url), self._engine.begin() as connection:
            yield connection
