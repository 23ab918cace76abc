"""Assigns a claimed trial: configuration, seeds, length and its Optuna trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.ledger import Phase, State
from indian_tune.study import faults
from indian_tune.study.assignment import Assignment, RunningTrial, run_key
from indian_tune.study.faults import fault_point
from indian_tune.study.optuna.parts import fresh_seed, given_params, part_of
from indian_tune.study.optuna.reconcile import restore
from indian_tune.study.optuna.suggester import optuna_numbers
from indian_tune.study.scoring import compares_seeds, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from indian_tune.ledger import Lease, Ledger, TrialRecord
    from indian_tune.study.optuna.projection import ProjectedTrial, Projection
    from indian_tune.study.optuna.suggester import Suggester
    from indian_tune.study.registered_study import RegisteredStudy


class Assigner:
    """Begins the trials of a study that were claimed, or takes them up where they were left.

    Args:
        study: open for writing.
        projection: of the same study.
        suggester: gives the tune trials their configurations.
    """

    def __init__(
        self, study: RegisteredStudy[Ledger], projection: Projection, suggester: Suggester
    ) -> None:
        self._study = study
        self._spec = study.spec
        self._ledger = study.ledger
        self._arms = {arm.id: arm for arm in study.ledger.arms(study.id)}
        self._projection = projection
        self._suggester = suggester

    def assign(self, lease: Lease, provenance: Mapping[str, Any]) -> RunningTrial:
        """Return the trial of a lease, its runs recorded as begun.

        Args:
            lease: of the trial, which was just claimed.
            provenance: of the worker, kept per run.

        Raises:
            LeaseLostError: another worker holds the trial now.
        """
        arm, place = self._arms[lease.trial.arm_id], lease.trial
        config, projected = self._configuration(lease, arm.name)
        fault_point(faults.AFTER_ASK)
        fresh = place.phase in (Phase.HALF, Phase.CONFIRM)
        epochs = self._spec.protocol.epochs if fresh else self._spec.protocol.tuning_epochs
        runs = self._ledger.begin(
            lease,
            config,
            projected.id,
            seeds=self._seeds(place),
            epochs=epochs,
            provenance=provenance,
        )
        fault_point(faults.AFTER_BEGIN)
        assignment = Assignment(
            lease=lease,
            arm=arm,
            search=self._study.record.search_name(arm.name, place.replicate),
            config=config,
            epochs=epochs,
            runs=runs,
            together=place.phase is not Phase.TUNE or not compares_seeds(self._spec),
            projected=projected,
            peers=self._peers(place, projected.id),
        )
        keys = {run_key(self._study.record, run): run for run in runs if not run.state.finished}
        trial = RunningTrial(assignment, keys)
        for run in runs:
            # What an earlier attempt has recorded counts as if this one had.
            if run.state is State.DIVERGED:
                # Which of both it was, the run does not tell.
                trial.diverged[run.id] = "loss or metric"
                trial.scores[run.id] = self._spec.chance
            elif run.epochs_done:
                last = self._ledger.epochs(run.id)[-1]
                trial.scores[run.id] = score(self._spec, last)
        return trial

    def _configuration(self, lease: Lease, arm: str) -> tuple[Mapping[str, float], ProjectedTrial]:
        trial = lease.trial
        if trial.phase is Phase.TUNE and trial.config is None:
            return self._suggester.suggest(lease, arm)
        assert trial.config is not None
        if trial.phase is Phase.TUNE or trial.optuna_trial_id is not None or lease.again:
            return trial.config, self._take_up(trial, arm)
        part = part_of(self._study.record, arm, trial)
        params, searched = given_params(self._study, arm, trial)
        return trial.config, self._projection.add(part, trial.id, params, searched)

    def _take_up(self, trial: TrialRecord, arm: str) -> ProjectedTrial:
        """Return the Optuna trial of a trial that was begun before."""
        part = part_of(self._study.record, arm, trial)
        known = trial.optuna_trial_id
        if known is None:
            found = self._projection.find(part, trial.id)
            known = None if found is None else found._trial_id
        if known is None:
            return restore(self._study, self._projection, trial)
        return self._projection.known(part, known)

    def _seeds(self, trial: TrialRecord) -> Sequence[int]:
        protocol, replicates = self._spec.protocol, self._spec.replicates
        if trial.phase is Phase.TUNE:
            return protocol.tuning_seeds_of(trial.replicate)
        if trial.phase is Phase.FINAL:
            return protocol.final_seeds_of(trial.replicate, replicates)
        if trial.phase is Phase.MATCH:
            return protocol.matching_seeds_of(trial.replicate, replicates)
        return (fresh_seed(self._spec, trial),)

    def _peers(self, trial: TrialRecord, optuna_id: int) -> Mapping[int, int] | None:
        """Return whom the pruner may compare a trial with: earlier generations, if there are any.

        Who of its own generation has got how far is an accident, and no ground for a decision.
        """
        size = self._spec.search.generation
        if size is None or self._spec.search.pruner.judges is None or trial.phase is not Phase.TUNE:
            return None
        trials = self._ledger.trials(
            self._study.id, phase=Phase.TUNE, arm_id=trial.arm_id, replicate=trial.replicate
        )
        earlier = trials[: trial.index // size * size]
        return {**optuna_numbers(earlier), optuna_id: trial.index}
