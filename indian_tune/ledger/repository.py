"""Writes the life of a trial, from its claim to its result.

Each public method is one transaction. A transaction may be repeated after its answer was lost,
and then changes nothing more.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.errors import LeaseLostError
from indian_tune.ledger import leases, runs, slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.connections import database_time
from indian_tune.ledger.records import Lease
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.states import Phase, State, check_transition
from indian_tune.ledger.trials import trial_record
from indian_tune.ledger.workers import WorkerWriter, lock_worker
from indian_tune.ledger.writer import lock_study
from indian_tune.text import storable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from indian_tune.ledger.budget import Budget
    from indian_tune.ledger.records import RunRecord
    from indian_tune.training.run import EpochRecord

MAX_ATTEMPTS = 3
# A worker that is not heard of for so many lease times is taken for dead.
SILENT_LEASES = 3


class Ledger(WorkerWriter):
    """Reads and writes one database.

    Attributes:
        lease: how long a claim lasts when it is not renewed.
        max_attempts: how many attempts at a trial may end, since its last newly recorded epoch,
            with an exception or with the death of their worker before it counts as failed.
    """

    max_attempts = MAX_ATTEMPTS

    def claim(
        self,
        study_id: int,
        phase: Phase,
        worker_id: str,
        *,
        arm_ids: Sequence[int] | None = None,
        replicate: int | None = None,
        generation: int | None = None,
        budget: Budget | None = None,
    ) -> Lease | None:
        """Lease the next trial that was abandoned or waits.

        An abandoned trial whose attempts are used up becomes FAILED instead, and the next one is
        taken. An attempt is the death of a worker that was seen, or its silence for three lease
        times, since the last newly recorded epoch; a worker that only lost its lease counts not.

        Args:
            study_id: of the study.
            phase: of the trial.
            worker_id: who claims; must have joined.
            arm_ids: of the arms that are wanted; all if ``None``.
            replicate: of the searches that are wanted, one of each arm; all if ``None``.
            generation: how many successive trials of a search make a generation. Of each, only
                the first generation with open trials is handed out, and of that only the first
                trial until ``configure`` has given all of them their configurations.
            budget: what a search may spend beside its number of trials; slots that it cannot pay
                for are dropped once its begun trials have ended.

        Returns:
            The lease, or ``None`` when nothing can be claimed now.
        """
        demand = leases.Demand(study_id, phase, arm_ids, replicate, generation, budget)
        return self._claim(demand, worker_id, secrets.token_hex(16))

    @transaction
    def _claim(self, demand: leases.Demand, worker_id: str, token: str) -> Lease | None:
        study_id = demand.study_id
        with self._writing() as connection:
            # An earlier attempt may still be about to commit. Its trial would be skipped as locked,
            # and the worker would hold two, of which it knows one.
            lock_worker(connection, worker_id)
            known = leases.granted(connection, demand, token)
            if known is not None:
                return Lease(trial=known, token=token, again=True)
            if demand.budget is not None:
                lock_study(connection, study_id)
            now = database_time(connection)
            while True:
                trial = leases.next_claimable(connection, demand, now)
                if trial is None:
                    return None
                spent = leases.SpentAttempts()
                if trial.started_at is not None:
                    patience = SILENT_LEASES * self.lease
                    spent = leases.spent_attempts(connection, trial, now, patience)
                if trial.state is State.WAITING or spent.total < self.max_attempts:
                    break
                reason = str(spent)
                check_transition(f"trial {trial.id}", trial.state, State.FAILED)
                connection.execute(
                    sa.update(t.trial)
                    .where(t.trial.c.id == trial.id)
                    .values(
                        state=State.FAILED, reason=reason, finished_at=now, lease_expires_at=None
                    )
                )
                runs.close(connection, trial.id, State.FAILED, now)
                failure = {"reason": reason, "worker": trial.worker_id}
                slots.record_event(connection, study_id, "failed", failure, now, trial_id=trial.id)
            if trial.started_at is not None:
                # The first claim has its timestamp in the trial, later ones are events.
                data = {
                    "attempt": spent.total + 1,
                    "from": trial.worker_id,
                    "by": worker_id,
                    "epochs": runs.epochs_done(connection, trial.id),
                }
                kind = "continued" if trial.state is State.WAITING else slots.TAKEN_OVER
                slots.record_event(connection, study_id, kind, data, now, trial_id=trial.id)
            return leases.grant(connection, trial, spent.total, worker_id, token, now, self.lease)

    @transaction
    def configure(self, lease: Lease, asked: Mapping[int, tuple[Mapping[str, float], int]]) -> None:
        """Store the configurations of the generation that the leased trial opens, all at once.

        Args:
            lease: of the first trial of the generation that has none.
            asked: configuration and Optuna trial by the id of the trial; one that has a
                configuration keeps it.

        Raises:
            LeaseLostError: the trial was taken over; nothing is stored.
        """
        with self._writing() as connection:
            expiry = database_time(connection) + self.lease
            leases.write_under(lease, connection, lease_expires_at=expiry)
            for trial_id, (config, optuna_trial_id) in asked.items():
                connection.execute(
                    sa.update(t.trial)
                    .where(t.trial.c.id == trial_id, t.trial.c.config.is_(sa.null()))
                    .values(config=dict(config), optuna_trial_id=optuna_trial_id)
                )

    @transaction
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

        A run counts as running from here to its end, also while nobody works on its trial.

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
            now = database_time(connection)
            leases.write_under(
                lease,
                connection,
                config=dict(lease.trial.config or config),
                optuna_trial_id=optuna_trial_id,
                lease_expires_at=now + self.lease,
            )
            return runs.start(connection, lease.trial.id, seeds, epochs, provenance, now)

    @transaction
    def record_pack(
        self, reports: Sequence[tuple[Lease, Mapping[int, EpochRecord]]]
    ) -> list[Lease]:
        """Store one epoch of the runs of several trials, by run id, and renew the leases.

        An epoch that is there already is left as it is: a run resumed from a checkpoint trains
        the epochs after it again, to bitwise the same result. A new one shows that the trial does
        not kill its workers, so its attempts are counted from here again.

        Returns:
            The leases that are lost; nothing is stored under them.
        """
        refused = []
        with self._writing() as connection:
            expiry = database_time(connection) + self.lease
            for lease, records in reports:
                try:
                    leases.write_under(lease, connection, lease_expires_at=expiry)
                except LeaseLostError:
                    refused.append(lease)
                    continue
                if runs.record(connection, records) and lease.trial.attempts > 1:
                    leases.write_under(lease, connection, attempts=1)
        return refused

    @transaction
    def describe(self, lease: Lease, provenance: Mapping[str, Any]) -> None:
        """Record what the open runs of the leased trial are computed with.

        Raises:
            LeaseLostError: the trial was taken over.
        """
        with self._writing() as connection:
            expiry = database_time(connection) + self.lease
            leases.write_under(lease, connection, lease_expires_at=expiry)
            runs.describe(connection, lease.trial.id, provenance)

    @transaction
    def finish_run(self, lease: Lease, run_id: int, state: State) -> None:
        """Record how one run of the leased trial ended."""
        with self._writing() as connection:
            now = database_time(connection)
            leases.write_under(lease, connection, lease_expires_at=now + self.lease)
            runs.finish(connection, run_id, state, now)

    @transaction
    def finish(
        self,
        lease: Lease,
        state: State,
        value: float | None,
        reason: str | None = None,
        *,
        values: Sequence[float] | None = None,
    ) -> None:
        """Record the outcome of the leased trial and end the lease.

        Runs that are still open get the trial's state.

        Args:
            lease: of the trial.
            state: one of the finished states.
            value: score under the study's objective; ``None`` for FAILED.
            reason: why it was pruned, diverged or failed, in a few words.
            values: scores under all objectives of a study that has several.

        Raises:
            LeaseLostError: the trial was taken over, or ended in another state.
        """
        assert state.finished
        with self._writing() as connection:
            now = database_time(connection)
            outcome = {
                "value": runs.finite(value),
                "values": None if values is None else list(values),
                "reason": reason,
                "finished_at": now,
            }
            if leases.end(lease, connection, state, **outcome):
                runs.close(connection, lease.trial.id, state, now)

    @transaction
    def fail_attempt(
        self, lease: Lease, run_ids: Sequence[int], error: str, *, final: bool = False
    ) -> State:
        """Record that an attempt ended with an exception, and keep its traceback.

        Returns:
            WAITING when the trial will be tried again, FAILED when its attempts are used up, or
            when it was ``final``.

        Raises:
            LeaseLostError: the trial was taken over.
        """
        with self._writing() as connection:
            now = database_time(connection)
            return self._fail_attempt(connection, lease, run_ids, error, now, final=final)

    @transaction
    def give_up(
        self, worker_id: str, error: str, trials: Mapping[int, str] | None = None, *, ends: bool
    ) -> dict[int, State]:
        """Record that trials of a worker make no progress: their attempts end, as by an exception.

        Args:
            worker_id: who holds them.
            error: where they hang, and in its last line a sentence for people.
            trials: paths of those that hang, by id; all that the worker holds if ``None``.
            ends: whether its process is killed: the worker is then recorded as lost, and the other
                trials that it holds are given back.

        Returns:
            What became of each: see :meth:`fail_attempt`. Trials that it does not hold are left
            out.
        """
        with self._writing() as connection:
            now = database_time(connection)
            held = sa.select(t.trial).where(
                t.trial.c.worker_id == worker_id, t.trial.c.state == State.RUNNING
            )
            states = {}
            for row in connection.execute(held.with_for_update()).mappings().all():
                trial = trial_record(row)
                if trials is not None and trial.id not in trials:
                    if ends:
                        self._release(connection, Lease(trial, row["lease_token"]))
                    continue
                mine = sa.select(t.run.c.id).where(t.run.c.trial_id == trial.id)
                states[trial.id] = self._fail_attempt(
                    connection,
                    Lease(trial, row["lease_token"]),
                    connection.scalars(mine).all(),
                    error,
                    now,
                )
            if ends:
                paths = [path for trial, path in (trials or {}).items() if trial in states]
                self._end_worker(connection, worker_id, error, paths, now)
            return states

    @transaction
    def release(self, lease: Lease) -> None:
        """Give the leased trial back untouched: it does not count as an attempt.

        Raises:
            LeaseLostError: the trial was taken over.
        """
        with self._writing() as connection:
            self._release(connection, lease)

    def _release(self, connection: sa.Connection, lease: Lease) -> None:
        if leases.end(lease, connection, State.WAITING, attempts=leases.ONE_FEWER):
            data = {"worker": lease.trial.worker_id}
            self._note(connection, lease, slots.RELEASED, data, database_time(connection))

    def _fail_attempt(
        self,
        connection: sa.Connection,
        lease: Lease,
        run_ids: Sequence[int],
        error: str,
        now: datetime,
        *,
        final: bool = False,
    ) -> State:
        query = sa.select(t.trial.c.attempts).where(t.trial.c.id == lease.trial.id)
        attempts = connection.execute(query).scalar_one()
        state = State.FAILED if final or attempts >= self.max_attempts else State.WAITING
        error = storable(error, t.StorableText.most)
        reason = error.strip().splitlines()[-1]
        finished_at = now if state.finished else None
        if not leases.end(lease, connection, state, reason=reason, finished_at=finished_at):
            return state
        if run_ids:
            connection.execute(sa.update(t.run).where(t.run.c.id.in_(run_ids)).values(error=error))
        if state.finished:
            runs.close(connection, lease.trial.id, state, now)
        data = {
            "attempt": attempts,
            "reason": reason,
            "traceback": error,
            "epochs": runs.epochs_done(connection, lease.trial.id),
        }
        self._note(connection, lease, slots.BROKE, data, now)
        return state

    def _note(
        self,
        connection: sa.Connection,
        lease: Lease,
        kind: str,
        data: Mapping[str, Any],
        now: datetime,
    ) -> None:
        trial = lease.trial
        slots.record_event(connection, trial.study_id, kind, data, now, trial_id=trial.id)
