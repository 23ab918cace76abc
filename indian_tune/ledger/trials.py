"""Reads the trials of a study, its winners and the chosen levels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from indian_tune.ledger import slots
from indian_tune.ledger import tables as t
from indian_tune.ledger.records import ArmRecord, EventRecord, TrialRecord, search_name
from indian_tune.ledger.results import ResultReader, chosen_trials
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.states import UNFINISHED, Phase, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_TRIAL_COLUMNS = tuple(column for column in t.trial.c if column.name != "lease_token")


def trial_record(row: sa.RowMapping) -> TrialRecord:
    """Make the record of one row of ``ledger_trial``."""
    values = {column.name: row[column.name] for column in _TRIAL_COLUMNS}
    return TrialRecord(
        **{**values, "phase": Phase(values["phase"]), "state": State(values["state"])}
    )


class TrialReader(ResultReader):
    """The part of :class:`~indian_tune.ledger.reader.LedgerReader` that reads trials."""

    @transaction
    def arms(self, study_id: int) -> list[ArmRecord]:
        """Return the arms of a study in the order of its file."""
        with self._reading() as connection:
            query = sa.select(t.arm).where(t.arm.c.study_id == study_id).order_by(t.arm.c.position)
            return [ArmRecord(**row) for row in connection.execute(query).mappings()]

    @transaction
    def trial(self, trial_id: int) -> TrialRecord:
        """Return one trial by its id, which must exist."""
        with self._reading() as connection:
            query = sa.select(*_TRIAL_COLUMNS).where(t.trial.c.id == trial_id)
            return trial_record(connection.execute(query).mappings().one())

    @transaction
    def find_trial(
        self, arm_id: int, phase: Phase, index: int, replicate: int = 0
    ) -> TrialRecord | None:
        """Return the trial of that place in the budget, ``None`` when there is none."""
        query = sa.select(*_TRIAL_COLUMNS).where(
            t.trial.c.arm_id == arm_id,
            t.trial.c.phase == phase,
            t.trial.c.replicate == replicate,
            t.trial.c.index == index,
        )
        with self._reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
            return None if row is None else trial_record(row)

    @transaction
    def trials(
        self,
        study_id: int,
        *,
        phase: Phase | None = None,
        arm_id: int | None = None,
        states: Sequence[State] | None = None,
        replicate: int | None = None,
        finished_since: datetime | None = None,
        best_first: bool = False,
        limit: int | None = None,
    ) -> list[TrialRecord]:
        """Return trials ordered by arm, phase (tune first, then match), replicate and index.

        Args:
            study_id: whose trials.
            phase: of this phase alone.
            arm_id: of this arm alone.
            states: in these states alone.
            replicate: of this search of every arm alone.
            finished_since: that ended at this time of the database's clock or later alone.
            best_first: order those of a phase that have a score by it, before those without and
                those that were not trained to their end. Phases differ in length and in seeds, so
                that their scores are never compared.
            limit: no more than so many, from the first.
        """
        wanted = chosen_trials(study_id, phase, arm_id, states, replicate)
        query = sa.select(*_TRIAL_COLUMNS).where(*wanted)
        if finished_since is not None:
            query = query.where(t.trial.c.finished_at >= finished_since)
        if best_first:
            whole = sa.case((t.trial.c.state == State.COMPLETE, 0), else_=1)
            query = query.order_by(
                t.trial.c.phase.desc(), whole, t.trial.c.value.is_(None), t.trial.c.value
            )
        query = query.order_by(
            t.trial.c.arm_id, t.trial.c.phase.desc(), t.trial.c.replicate, t.trial.c.index
        )
        if limit is not None:
            query = query.limit(limit)
        with self._reading() as connection:
            return [trial_record(row) for row in connection.execute(query).mappings()]

    @transaction
    def count_trials(
        self,
        study_id: int,
        *,
        phase: Phase | None = None,
        arm_id: int | None = None,
        states: Sequence[State] | None = None,
        replicate: int | None = None,
    ) -> int:
        """Return how many trials there are of a study; the arguments are those of `trials`."""
        wanted = chosen_trials(study_id, phase, arm_id, states, replicate)
        query = sa.select(sa.func.count()).where(*wanted)
        with self._reading() as connection:
            return connection.execute(query).scalar_one()

    def open_trials(self, study_id: int, phase: Phase, arm_id: int | None = None) -> int:
        """Return how many trials of a phase, or of one arm in it, wait or run."""
        return self.count_trials(study_id, phase=phase, arm_id=arm_id, states=UNFINISHED)

    @transaction
    def begun(self, study_id: int) -> bool:
        """Whether any trial of a study was ever claimed."""
        query = sa.select(t.trial.c.id).where(
            t.trial.c.study_id == study_id, t.trial.c.started_at.is_not(None)
        )
        with self._reading() as connection:
            return connection.execute(query.limit(1)).first() is not None

    @transaction
    def frozen(self, study_id: int) -> bool:
        """Whether the winners of the tune phase are frozen, with no trial added since."""
        with self._reading() as connection:
            return slots.is_frozen(connection, study_id)

    @transaction
    def changes(self, study_id: int) -> int:
        """Return how often trials were added to a study, or put back after they had failed."""
        with self._reading() as connection:
            return slots.count_changes(connection, study_id)

    @transaction
    def has_levels(self, study_id: int) -> bool:
        """Whether the levels of the controls of the present winners are frozen.

        Also when the study has no response-matched control.
        """
        with self._reading() as connection:
            return slots.has_levels(connection, study_id)

    def levels(self, study_id: int) -> dict[str, Mapping[str, Any]]:
        """Return what is recorded of the levels of the present winners' controls, by search.

        Nothing before they are frozen.
        Keys ``level`` and ``config`` (``None`` for a control that is not isolated), ``reason`` in
        words or ``None``, and ``tried``: a table per level with ``trial``, ``level``,
        ``validation_accuracy`` (mean over runs; of another task the metric that it is
        judged by), ``runs`` and ``failed`` (number of runs).
        """
        events = self.events(study_id, slots.LEVELS)
        frozen = bool(events) and self.has_levels(study_id)
        return dict(events[-1].data["levels"]) if frozen else {}

    def confirms(self, study_id: int, arm_id: int | None = None) -> list[TrialRecord]:
        """Return the confirm trials of the winners that were frozen last, by arm and index.

        Those of a winner that was overtaken after an extension of the study are left out, and with
        it those of its control, should that of the new winner not be isolated.
        """
        lost = {name for name, record in self.levels(study_id).items() if record["level"] is None}
        trials = self._newest(study_id, Phase.CONFIRM, arm_id)
        if not lost:
            return trials
        names = self._search_names(study_id, trials)
        return [trial for trial, name in zip(trials, names, strict=True) if name not in lost]

    def halves(self, study_id: int) -> list[TrialRecord]:
        """Return the trials on fresh seeds of the winners of half the budget, by arm and index.

        Where the first half of a search holds the winner of the whole, these are its confirm trials
        with the phase ``half``: nothing is trained twice.
        """
        frozen = self.events(study_id, slots.FROZEN)
        record = frozen[-1].data if frozen else {}
        found = []
        for trials in (
            self._newest(study_id, Phase.HALF),
            self._newest(study_id, Phase.CONFIRM) if record.get("halves") else [],
        ):
            for trial, name in zip(trials, self._search_names(study_id, trials), strict=True):
                half = record.get("halves", {}).get(name)
                if half is None or half["config"] != trial.config:
                    continue
                same = half["config"] == record["winners"].get(name, {}).get("config")
                if same is (trial.phase is Phase.CONFIRM):
                    found.append(replace(trial, phase=Phase.HALF))
        return sorted(found, key=lambda trial: (trial.arm_id, trial.replicate, trial.index))

    def matches(self, study_id: int, arm_id: int | None = None) -> list[TrialRecord]:
        """Return the match trials of the winners that were frozen last, by arm and index.

        Those of a winner that was overtaken after an extension of the study are left out.
        """
        return self._newest(study_id, Phase.MATCH, arm_id)

    def _newest(self, study_id: int, phase: Phase, arm_id: int | None = None) -> list[TrialRecord]:
        trials = self.trials(study_id, phase=phase, arm_id=arm_id)
        newest: dict[tuple[int, int], int] = {}
        for trial in trials:
            search = trial.arm_id, trial.replicate
            newest[search] = max(newest.get(search, 0), trial.freezing)
        return [
            trial for trial in trials if trial.freezing == newest[trial.arm_id, trial.replicate]
        ]

    def _search_names(self, study_id: int, trials: Sequence[TrialRecord]) -> list[str]:
        arms = {arm.id: arm.name for arm in self.arms(study_id)}
        with self._reading() as connection:
            replicates = slots.count_replicates(connection, study_id)
        return [search_name(arms[each.arm_id], each.replicate, replicates) for each in trials]

    @transaction
    def leaders(
        self, study_id: int, before: Mapping[int, int] | None = None
    ) -> dict[tuple[int, int], TrialRecord]:
        """Return the best complete tune trial of every search so far, by arm and replicate.

        Ties go to the lower index, which was asked for first.

        Args:
            study_id: of the study.
            before: by the id of the arm, which it then has to name, the index below which a trial
                is looked at; all are if ``None``.
        """
        wanted = chosen_trials(study_id, Phase.TUNE, None, (State.COMPLETE,))
        if before is not None:
            ranges = [
                (t.trial.c.arm_id == arm) & (t.trial.c.index < n) for arm, n in before.items()
            ]
            wanted.append(sa.or_(sa.false(), *ranges))
        places = (
            sa.select(
                t.trial.c.id,
                sa.func.row_number()
                .over(
                    partition_by=(t.trial.c.arm_id, t.trial.c.replicate),
                    order_by=(t.trial.c.value, t.trial.c.index),
                )
                .label("place"),
            )
            .where(*wanted, t.trial.c.value.is_not(None))
            .subquery()
        )
        query = sa.select(*_TRIAL_COLUMNS).join(places, places.c.id == t.trial.c.id)
        with self._reading() as connection:
            rows = connection.execute(query.where(places.c.place == 1)).mappings()
            best = [trial_record(row) for row in rows]
        return {(trial.arm_id, trial.replicate): trial for trial in best}

    @transaction
    def events(self, study_id: int, kind: str | None = None) -> list[EventRecord]:
        """Return what happened to a study, oldest first."""
        query = sa.select(t.event).where(t.event.c.study_id == study_id).order_by(t.event.c.id)
        if kind is not None:
            query = query.where(t.event.c.kind == kind)
        with self._reading() as connection:
            return [EventRecord(**row) for row in connection.execute(query).mappings()]
