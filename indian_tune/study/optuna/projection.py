"""The projection of a study onto Optuna's tables, in the same database.

One Optuna study per arm that searches (``<study>/<arm>``), be it its space or its level, and one
for the confirm phase (``<study>/confirm``). Where every arm is searched several times, each search
has its own (``<study>/<arm>/r3``); winners of half the budget have one too (``<study>/half``).
The sampler and the pruner read them and Optuna Dashboard shows them; the ledger stays the truth.
A ledger trial is found in Optuna by the user attribute ``slot`` (its ledger id), which is written
in the same transaction as the Optuna trial itself: no crash can leave one without the other.

Every public method may be repeated, and is when the database was out of reach for a moment.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import optuna
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from indian_tune.errors import StorageError
from indian_tune.ledger import State, show_url, transaction
from indian_tune.ledger.connections import configure, engine_options
from indian_tune.ledger.explanations import explained
from indian_tune.ledger.retry import database_error
from indian_tune.study.optuna.foreign import foreign_count
from indian_tune.study.optuna.parts import CONFIRM, FINAL, HALF
from indian_tune.study.optuna.scores import score_insert
from indian_tune.study.optuna.shown_trial import (
    SLOT,
    TOLD_AS,
    Past,
    constraint_attributes,
    outcome_attributes,
    shown_trial,
)
from indian_tune.study.optuna.unsaved_trial import unsaved_trial
from indian_tune.study.optuna.view import StorageView, consecutive, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

    from indian_tune.ledger import LedgerReader
    from indian_tune.study.registered_study import RegisteredStudy

# Processes that open a new database together make Optuna's tables against each other.
_OPENING_ATTEMPTS = 5
# The schema that a version of Optuna works with, which takes it a while to find.
_wanted: dict[str, str] = {}


class ProjectedTrial:
    """One trial in Optuna's tables."""

    def __init__(self, projection: Projection, part: str, trial_id: int, steps: set[int]) -> None:
        self._projection = projection
        self._part = part
        self._reported = steps
        self.id = trial_id

    def report(self, value: float, step: int) -> None:
        """Store the score at a step; one that is there already, or is not finite, is left."""
        if step in self._reported or not math.isfinite(value):
            return
        self._projection.report(self.id, value, step)
        self._reported.add(step)

    @property
    def last_step(self) -> int:
        """The last step with a score; 0 before the first."""
        return max(self._reported, default=0)

    def should_prune(self, pruner: BasePruner, peers: Mapping[int, int] | None = None) -> bool:
        """Ask a pruner about the last report; see :meth:`Projection.should_prune`."""
        return self._projection.should_prune(self._part, self.id, pruner, peers)


class Projection:
    """Reads and writes Optuna's tables for one study.

    Args:
        url: of the database that holds the ledger.
        study: name of the study.
        arms: names of the searches.
        matched: names of the searches of a level in the match phase.
        final: whether searches have finalists.
        half: whether winners of half the budget are confirmed.
        objectives: how many scores a tune trial has.
        pool: of the ledger's connections, to share them; its owner closes it.

    Raises:
        StorageError: Optuna cannot use the database.
    """

    def __init__(
        self,
        url: URL,
        study: str,
        arms: Sequence[str],
        *,
        matched: Sequence[str] = (),
        final: bool = False,
        half: bool = False,
        objectives: int = 1,
        pool: sa.Pool | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.url = url
        self._insert_score: sa.Insert | None = None
        self._storage: BaseStorage = self._connect(pool)
        self._name = study
        self._arms = tuple(arms)
        self._matched = tuple(matched)
        self._confirming = (*((FINAL,) if final else ()), *((HALF,) if half else ()), CONFIRM)
        self._objectives = objectives
        self._study_ids: dict[str, int] = {}

    @classmethod
    def beside(cls, study: RegisteredStudy[LedgerReader]) -> Self:
        """Open the projection of a study on the connections of its ledger.

        Raises:
            StorageError: Optuna cannot use the database.
        """
        return cls(
            study.ledger.url,
            study.name,
            _searches(study, study.spec.searched_arms),
            matched=_searches(study, study.spec.matched_arms),
            final=study.spec.protocol.finalists > 0,
            half=study.spec.claims.half_budget,
            objectives=len(study.spec.protocol.scores),
            pool=study.ledger.pool,
        )

    def close(self) -> None:
        """Close the connections, unless they are the ledger's."""
        self._storage.remove_session()
        if self._own_pool:
            self._engine.dispose()

    @property
    def parts(self) -> tuple[str, ...]:
        """What has an Optuna study of its own: every search, and the phases on fresh seeds."""
        return (*self._arms, *self._matched, *self._confirming)

    @transaction
    def create(self) -> int:
        """Make the Optuna studies that are not there yet; return how many were missing."""
        with self._errors():
            there = {study.study_name for study in self._storage.get_all_studies()}
            missing = [part for part in self.parts if self.name_of(part) not in there]
            for part in missing:
                # All but tune trials have one score: what the winners were chosen by.
                optuna.create_study(
                    study_name=self.name_of(part),
                    storage=self._storage,
                    directions=["minimize"] * (self._objectives if part in self._arms else 1),
                    load_if_exists=True,
                )
            return len(missing)

    @transaction
    def remove(self) -> None:
        """Delete the Optuna studies of this study, and none else."""
        with self._errors():
            ours = {self.name_of(part) for part in self.parts}
            self._study_ids.clear()
            for study in self._storage.get_all_studies():
                if study.study_name in ours:
                    self._storage.delete_study(study._study_id)

    def name_of(self, part: str) -> str:
        """Return the name of the Optuna study of a search, or of a phase on fresh seeds."""
        return f"{self._name}/{part}"

    @transaction
    def sample(
        self,
        arm: str,
        distributions: Mapping[str, BaseDistribution],
        sampler: BaseSampler,
        pruner: BasePruner,
        others: Sequence[FrozenTrial],
        *,
        number: int,
    ) -> FrozenTrial:
        """Return a trial with the parameters that the sampler gives it, not stored yet.

        Args:
            arm: whose trial it is.
            distributions: of the parameters to draw.
            sampler: who draws.
            pruner: of the study.
            others: the trials that the sampler may look at.
            number: of the new one.
        """
        with self._errors():
            name = self.name_of(arm)
            return unsaved_trial(
                self._storage, name, distributions, sampler, pruner, others, number=number
            )

    def add(
        self,
        part: str,
        slot: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        *,
        past: Past | None = None,
        system_attrs: Mapping[str, Any] | None = None,
    ) -> ProjectedTrial:
        """Store the trial of a slot, whole; one that has just begun by default.

        Args:
            part: an arm, or the confirm phase.
            slot: id of the ledger's trial, which has no Optuna trial yet.
            params: the searched part of its configuration.
            distributions: where they came from.
            past: what has happened to it so far.
            system_attrs: what a sampler keeps with the trial.
        """
        template = shown_trial(
            slot, params, distributions, past or Past(State.RUNNING), system_attrs or {}
        )
        steps = set(template.intermediate_values)
        return ProjectedTrial(self, part, self._insert(part, template), steps)

    def find(self, part: str, slot: int) -> FrozenTrial | None:
        """Return the running Optuna trial of a slot, ``None`` when it has none."""
        for trial in self.trials(part, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get(SLOT) == slot:
                return trial
        return None

    def known(self, part: str, trial_id: int) -> ProjectedTrial:
        """Return the Optuna trial of that id, which must exist."""
        trial = self.trial(trial_id)
        return ProjectedTrial(self, part, trial_id, set(trial.intermediate_values))

    @transaction
    def trials(self, part: str, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the Optuna trials of an arm, or of the confirm phase, without foreign ones."""
        with self._errors():
            trials = self._storage.get_all_trials(
                self._id_of(part),
                deepcopy=False,
                states=None if states is None else tuple(states),
            )
        return [trial for trial in trials if SLOT in trial.user_attrs]

    @transaction
    def foreign_trials(self) -> int:
        """Return how many Optuna trials belong to no trial of the ledger; nothing reads them."""
        query = foreign_count(map(self.name_of, self.parts))
        with self._errors(), self._engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    @transaction
    def states(self, part: str) -> dict[int, TrialState]:
        """Return the states of all Optuna trials of an arm, or of the confirm phase, by their id.

        To read whole trials, with every value and parameter, takes a minute for some thousands.
        """
        trials = sa.table("trials", *map(sa.column, ("trial_id", "study_id", "state")))
        query = sa.select(trials.c.trial_id, trials.c.state).where(
            trials.c.study_id == self._id_of(part)
        )
        with self._errors(), self._engine.connect() as connection:
            return {row.trial_id: TrialState[row.state] for row in connection.execute(query)}

    @transaction
    def trial(self, trial_id: int) -> FrozenTrial:
        """Return the Optuna trial of that id, which must exist."""
        with self._errors():
            return self._storage.get_trial(trial_id)

    def peers(self, part: str, numbers: Mapping[int, int]) -> list[FrozenTrial]:
        """Return certain Optuna trials under other numbers, in the order of these.

        Args:
            part: an arm, or the confirm phase.
            numbers: by Optuna's id of the trial; one that is not there is left out.
        """
        found = {trial._trial_id: trial for trial in self.trials(part)}
        return [
            numbered(found[trial_id], number)
            for trial_id, number in sorted(numbers.items(), key=lambda item: item[1])
            if trial_id in found
        ]

    @transaction
    def report(self, trial_id: int, value: float, step: int) -> None:
        """Store the finite score of a trial at a step, unless it is there already."""
        with self._errors():
            if self._insert_score is None:
                self._storage.set_trial_intermediate_value(trial_id, step, value)
                return
            with self._engine.begin() as connection:
                row = {"of": trial_id, "at": step, "score": value}
                connection.execute(self._insert_score, row)

    @transaction
    def should_prune(
        self, part: str, trial_id: int, pruner: BasePruner, peers: Mapping[int, int] | None = None
    ) -> bool:
        """Ask a pruner about a trial.

        Args:
            part: an arm.
            trial_id: of the Optuna trial.
            pruner: to ask.
            peers: numbers of the trials that it may be compared with, by Optuna's ids, and its
                own; all of the ledger if ``None``.
        """
        with self._errors():
            name = self.name_of(part)
            trial = self._storage.get_trial(trial_id)
            if peers is None:
                seen = consecutive(self.trials(part))
                # The newest are the likeliest to run.
                own = (each for each in reversed(seen) if each._trial_id == trial_id)
                trial = numbered(trial, next(own, trial).number)
            else:
                seen = self.peers(part, peers)
                trial = numbered(trial, peers[trial_id])
            storage = cast("BaseStorage", StorageView(self._storage, name, seen))
            study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
            return pruner.prune(study, trial)

    @transaction
    def tell(
        self,
        trial_id: int,
        outcome: State,
        values: Sequence[float] | None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        """Record the outcome; one that was recorded before is left.

        Args:
            trial_id: of the Optuna trial.
            outcome: its state.
            values: its scores.
            constraints: what it must fulfil to be a solution, see :func:`scoring.constraints`.
        """
        told = None if values is None or outcome is State.FAILED else list(values)
        with self._errors():
            try:
                for key, name in outcome_attributes(outcome).items():
                    self._storage.set_trial_user_attr(trial_id, key, name)
                for key, value in constraint_attributes(constraints or {}).items():
                    self._storage.set_trial_system_attr(trial_id, key, value)
                self._storage.set_trial_state_values(trial_id, TOLD_AS[outcome], told)
            except optuna.exceptions.UpdateFinishedTrialError:
                return

    @transaction
    def _insert(self, part: str, template: FrozenTrial) -> int:
        with self._errors():
            return self._storage.create_new_trial(self._id_of(part), template)

    def _id_of(self, part: str) -> int:
        if part not in self._study_ids:
            name = self.name_of(part)
            try:
                self._study_ids[part] = self._storage.get_study_id_from_name(name)
            except KeyError as error:
                raise StorageError(
                    f"database {show_url(self.url)}: the Optuna study {name!r} was deleted: run "
                    f"`indian-tune doctor --storage {show_url(self.url)}` to create it again"
                ) from error
        return self._study_ids[part]

    def _connect(self, pool: sa.Pool | None) -> BaseStorage:
        rdb, schema = self._open()
        # The connections that made the tables were opened without the settings.
        rdb.engine.dispose()
        if pool is None:
            configure(rdb.engine)
        else:
            # Not given to Optuna from the start: an engine asks the server what it is when it
            # opens its first connection, and a pool may have opened it already.
            rdb.engine.pool = pool
        self._own_pool = pool is None
        self._engine = rdb.engine
        self._insert_score = score_insert(rdb.engine.dialect, schema)
        return optuna.storages.get_storage(rdb)

    def _open(self) -> tuple[optuna.storages.RDBStorage, str]:
        for attempt in range(1, _OPENING_ATTEMPTS + 1):
            try:
                with self._errors():
                    # Its own check asks on a second connection while the first is in a
                    # transaction: workers that begin together would take all that a pooler has,
                    # and each would wait for one more.
                    storage = optuna.storages.RDBStorage(
                        self.url.render_as_string(hide_password=False),
                        engine_kwargs=engine_options(self.url),
                        skip_compatibility_check=True,
                    )
                    found = storage.get_current_version()
                    wanted = _wanted.get(optuna.__version__) or storage.get_head_version()
                    _wanted[optuna.__version__] = wanted
            except StorageError:
                if attempt == _OPENING_ATTEMPTS:
                    raise
                time.sleep(0.2 * attempt)
            else:
                if found == wanted:
                    return storage, found
                storage.engine.dispose()
                raise StorageError(
                    f"database {show_url(self.url)}: the Optuna tables have schema {found}, but "
                    f"Optuna {optuna.__version__} needs {wanted}: install the Optuna version that "
                    "created them, or run `optuna storage upgrade`"
                )
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (optuna.exceptions.StorageInternalError, sa.exc.DBAPIError) as error:
            cause = database_error(error)
            if cause is not None:
                raise explained(self.url, cause) from error
            raise StorageError(
                f"database {show_url(self.url)}: {error.__cause__ or error}"
            ) from error


def _searches(study: RegisteredStudy[LedgerReader], arms: Sequence[str]) -> list[str]:
    return [
        study.record.search_name(arm, replicate)
        for arm in arms
        for replicate in range(study.spec.replicates)
    ]
