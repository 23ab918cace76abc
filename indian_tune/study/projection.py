"""The projection of a study onto Optuna's tables, in the same database.

One Optuna study per arm (``<study>/<arm>``) and one for the confirm phase (``<study>/confirm``).
The sampler and the pruner read them and Optuna Dashboard shows them; the ledger stays the truth.
A ledger trial is found in Optuna by the user attribute ``slot`` (its ledger id), which is written
in the same transaction as the Optuna trial itself: no crash can leave one without the other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from indian_tune.ledger import State, sqlite_file, sqlite_settings
from indian_tune.ledger.database import BUSY_TIMEOUT_SECONDS
from indian_tune.study.spec import MAX_SEED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

CONFIRM = "confirm"
SLOT = "slot"
OUTCOME = "outcome"

_TOLD_AS = {
    State.COMPLETE: TrialState.COMPLETE,
    # A result at chance level: told FAIL, the sampler would learn nothing from it.
    State.DIVERGED: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
}


class ProjectedTrial:
    """One trial in Optuna's tables."""

    def __init__(
        self, storage: BaseStorage, trial: FrozenTrial, study: optuna.Study | None = None
    ) -> None:
        self._storage = storage
        self._study = study
        self.id = trial._trial_id
        self._reported = set(trial.intermediate_values)

    def report(self, value: float, step: int) -> None:
        """Store the score at a step; one that is there already, or is not finite, is left."""
        if step in self._reported or not math.isfinite(value):
            return
        self._storage.set_trial_intermediate_value(self.id, step, value)
        self._reported.add(step)

    def should_prune(self) -> bool:
        """Ask the study's pruner about the last report."""
        assert self._study is not None
        trial = self._storage.get_trial(self.id)
        return self._study.pruner.prune(self._study, trial)


class Projection:
    """Reads and writes Optuna's tables for one study.

    Args:
        url: of the database that holds the ledger.
        study: name of the study.
        arms: names of its arms.
    """

    def __init__(self, url: URL, study: str, arms: Sequence[str]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        engine_kwargs: dict[str, Any] = {"pool_pre_ping": True}
        if sqlite_file(url) is not None:
            engine_kwargs = {"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS}}
        rdb = optuna.storages.RDBStorage(
            url.render_as_string(hide_password=False), engine_kwargs=engine_kwargs
        )
        if sqlite_file(url) is not None:
            event.listen(rdb.engine, "connect", lambda connection, _: sqlite_settings(connection))
            # The connections that made the tables were opened without the settings.
            rdb.engine.dispose()
        self._engine = rdb.engine
        self._storage = optuna.storages.get_storage(rdb)
        self._name = study
        self._arms = tuple(arms)

    def close(self) -> None:
        """Close the connections."""
        self._storage.remove_session()
        self._engine.dispose()

    def create(self) -> None:
        """Make the Optuna studies that are not there yet."""
        for part in (*self._arms, CONFIRM):
            optuna.create_study(
                study_name=self.name_of(part),
                storage=self._storage,
                direction="minimize",
                load_if_exists=True,
            )

    def name_of(self, part: str) -> str:
        """Return the name of the Optuna study of an arm, or of the confirm phase."""
        return f"{self._name}/{part}"

    def ask(
        self,
        arm: str,
        slot: int,
        known_id: int | None,
        distributions: Mapping[str, BaseDistribution],
        sampler: BaseSampler,
        pruner: BasePruner,
    ) -> tuple[ProjectedTrial, dict[str, Any]]:
        """Return the Optuna trial of a slot and the values that the sampler gives it.

        Idempotent: a slot that was asked before, even by a worker that died half-way, gets the
        same Optuna trial and keeps the values that were stored.
        """
        study = optuna.load_study(
            study_name=self.name_of(arm), storage=self._storage, sampler=sampler, pruner=pruner
        )
        trial_id = known_id if known_id is not None else self._create(arm, slot)
        trial = optuna.trial.Trial(study, trial_id)
        values = {name: _suggest(trial, name, what) for name, what in distributions.items()}
        return ProjectedTrial(self._storage, self._storage.get_trial(trial_id), study), values

    def confirm(self, arm: str, seed: int, slot: int, known_id: int | None) -> ProjectedTrial:
        """Return the Optuna trial of a confirm slot; arm and seed are its parameters."""
        if known_id is None:
            known_id = self._create(
                CONFIRM,
                slot,
                {"arm": arm, "seed": seed},
                {
                    "arm": optuna.distributions.CategoricalDistribution(self._arms),
                    "seed": optuna.distributions.IntDistribution(0, MAX_SEED),
                },
            )
        return ProjectedTrial(self._storage, self._storage.get_trial(known_id))

    def find(self, part: str, slot: int) -> int | None:
        """Return the id of the Optuna trial of a slot, ``None`` when it has none."""
        for trial in self.trials(part):
            if trial.user_attrs.get(SLOT) == slot:
                return trial._trial_id
        return None

    def trials(self, part: str, states: Sequence[TrialState] | None = None) -> list[FrozenTrial]:
        """Return the Optuna trials of an arm, or of the confirm phase."""
        study_id = self._storage.get_study_id_from_name(self.name_of(part))
        return self._storage.get_all_trials(
            study_id, deepcopy=False, states=None if states is None else tuple(states)
        )

    def tell(self, trial_id: int, outcome: State, value: float | None) -> None:
        """Record the outcome; one that was recorded before is left."""
        if self._storage.get_trial(trial_id).state.is_finished():
            return
        self._storage.set_trial_user_attr(trial_id, OUTCOME, str(outcome))
        told = None if value is None or outcome is State.FAILED else [value]
        self._storage.set_trial_state_values(trial_id, _TOLD_AS[outcome], told)

    def drop(self, trial_id: int) -> None:
        """Mark an Optuna trial that belongs to no ledger trial as failed."""
        self._storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def _create(
        self,
        part: str,
        slot: int,
        params: Mapping[str, Any] | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
    ) -> int:
        study_id = self._storage.get_study_id_from_name(self.name_of(part))
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(params or {}),
            distributions=dict(distributions or {}),
            user_attrs={SLOT: slot},
        )
        return self._storage.create_new_trial(study_id, template)


def _suggest(trial: optuna.Trial, name: str, what: BaseDistribution) -> Any:
    match what:
        case optuna.distributions.CategoricalDistribution():
            return trial.suggest_categorical(name, what.choices)
        case optuna.distributions.IntDistribution():
            return trial.suggest_int(name, what.low, what.high, step=what.step)
        case optuna.distributions.FloatDistribution():
            return trial.suggest_float(name, what.low, what.high, step=what.step, log=what.log)
    raise AssertionError(f"no way to suggest {what}")
