"""Optuna's storage restricted to what a sampler or a pruner of one generation may see.

In a study with generations what is decided about a trial may depend on the earlier generations
alone, not on what happens to have been reported meanwhile. So the samplers and pruners of Optuna,
which read whatever a storage holds, are given a storage that holds certain trials only.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from collections.abc import Container, Sequence


class StorageView:
    """Optuna's storage with some trials of one study in it and no others; reads and writes through.

    Args:
        storage: that has the trials.
        study_name: of the Optuna study.
        trials: those that are seen, in the order in which they are seen.
    """

    def __init__(
        self, storage: BaseStorage, study_name: str, trials: Sequence[FrozenTrial]
    ) -> None:
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study_name)
        self._trials = trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of the one study."""
        return self._study_id

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials that are seen."""
        trials = [trial for trial in self._trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the best of the trials that are seen."""
        return BaseStorage.get_best_trial(cast("BaseStorage", self), study_id)


def numbered(trial: FrozenTrial, number: int) -> FrozenTrial:
    """Return a trial under another number; Optuna's own is the order of arrival."""
    renumbered = copy.copy(trial)
    renumbered.number = number
    return renumbered


def consecutive(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return trials, in the order of their numbers, numbered as if no others were between them."""
    if not trials or trials[-1].number == len(trials) - 1:
        return trials
    return [numbered(trial, number) for number, trial in enumerate(trials)]


def under_way(trial: FrozenTrial) -> FrozenTrial:
    """Return a trial as it looked when it was asked for: with a configuration and no result."""
    asked = copy.copy(trial)
    asked.state = TrialState.RUNNING
    asked.values = None
    asked.intermediate_values = {}
    asked.datetime_complete = None
    return asked
