"""Sampling a configuration before its Optuna trial exists.

Optuna writes a trial first and its parameters one by one, so a worker that dies in between leaves
a trial with half a configuration, and the rest would be drawn again. Here the sampler works on an
unsaved trial, which is then written whole, in one transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from indian_tune.study.file.space import Range
from indian_tune.study.optuna.view import StorageView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

_UNSAVED_ID = -1


def unsaved_trial(
    storage: BaseStorage,
    study_name: str,
    distributions: Mapping[str, BaseDistribution],
    sampler: BaseSampler,
    pruner: BasePruner,
    others: Sequence[FrozenTrial],
    *,
    number: int,
) -> FrozenTrial:
    """Return a running trial with the parameters that the sampler gives it, not stored yet.

    Args:
        storage: of the Optuna study.
        study_name: of the Optuna study.
        distributions: by parameter, in the order in which they are drawn.
        sampler: who draws; what it keeps with the trial is in the trial's system attributes.
        pruner: of the study; it decides which trials the sampler compares with.
        others: the trials that the sampler may look at.
        number: of the trial; samplers know the trial that they sample by it.
    """
    view = _UnsavedStorage(storage, study_name, others, number)
    study = optuna.Study(study_name, cast("BaseStorage", view), sampler=sampler, pruner=pruner)
    trial = optuna.trial.Trial(study, _UNSAVED_ID)
    for name, what in distributions.items():
        value = _suggest(trial, name, what)
        if isinstance(what, FloatDistribution) and what.step is not None:
            # Samplers add steps in binary: 0.1 + 2 · 0.1 is 0.30000000000000004.
            value = Range(what.low, what.high, step=what.step).nearest(value)
        view.unsaved.params[name] = value
    return view.unsaved


class _UnsavedStorage(StorageView):
    """A view with one more trial in it, which only this object knows."""

    def __init__(
        self, storage: BaseStorage, study_name: str, others: Sequence[FrozenTrial], number: int
    ) -> None:
        self.unsaved = optuna.trial.create_trial(state=TrialState.RUNNING)
        self.unsaved.number = number
        super().__init__(storage, study_name, (*others, self.unsaved))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self.unsaved if trial_id == _UNSAVED_ID else self._storage.get_trial(trial_id)

    def set_trial_param(
        self, trial_id: int, name: str, value: float, distribution: BaseDistribution
    ) -> None:
        assert trial_id == _UNSAVED_ID
        self.unsaved.distributions[name] = distribution
        self.unsaved.params[name] = distribution.to_external_repr(value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        assert trial_id == _UNSAVED_ID
        self.unsaved.system_attrs[key] = value

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs


def _suggest(trial: optuna.Trial, name: str, what: BaseDistribution) -> Any:
    match what:
        case optuna.distributions.CategoricalDistribution():
            return trial.suggest_categorical(name, what.choices)
        case optuna.distributions.IntDistribution():
            return trial.suggest_int(name, what.low, what.high, step=what.step)
        case optuna.distributions.FloatDistribution():
            return trial.suggest_float(name, what.low, what.high, step=what.step, log=what.log)
    raise AssertionError(f"cannot suggest {what}")
