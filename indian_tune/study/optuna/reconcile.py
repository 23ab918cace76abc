"""Repairs what a crash left half-written, whenever a study is opened for work.

The ledger is right by construction, since each of its steps is one transaction. What can be left
behind is a lease of a dead worker, and Optuna's tables, which are written beside the ledger.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from indian_tune.errors import LedgerError
from indian_tune.ledger import Phase, State
from indian_tune.study.completion import held_trials
from indian_tune.study.optuna.parts import given_params, part_of
from indian_tune.study.optuna.sampling import distributions
from indian_tune.study.optuna.shown_trial import SLOT, Past
from indian_tune.study.scoring import constraints, learning_curve
from indian_tune.study.space_history import SpaceHistory
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.ledger import Ledger, TrialRecord, WorkerRecord
    from indian_tune.study.optuna.projection import ProjectedTrial, Projection
    from indian_tune.study.registered_study import RegisteredStudy


@dataclass(frozen=True)
class Repairs:
    """What was found and repaired.

    Attributes:
        created: Optuna studies that were missing.
        freed: trials taken from workers of this host that are dead.
        lost: workers of this host that were found dead.
        told: finished trials whose outcome Optuna had not heard.
        dropped: Optuna trials left running that belong to no trial of the ledger.
        restored: trials that Optuna had lost, or had ended while the ledger had not.
    """

    created: int = 0
    freed: int = 0
    lost: int = 0
    told: int = 0
    dropped: int = 0
    restored: int = 0

    def __bool__(self) -> bool:
        return any(asdict(self).values())


def reconcile(
    study: RegisteredStudy[Ledger],
    projection: Projection,
    is_dead: Callable[[WorkerRecord], bool],
) -> Repairs:
    """Bring leases and Optuna's tables in line with the ledger. Safe beside working workers.

    Args:
        study: to repair.
        projection: of the same study.
        is_dead: whether a worker that has not said good-bye is known to be gone; a worker on
            another host never is, its leases simply expire.
    """
    ledger, created = study.ledger, projection.create()
    begun = ledger.begun(study.id)
    held = held_trials(ledger, study.record)
    dead = [w for w in ledger.workers(study.id) if w.left_at is None and is_dead(w)]
    freed = sum(ledger.record_lost_worker(each, held.get(each.id, [])) for each in dead)
    repair = _Repair(study, projection)
    if begun:
        repair.close_strays()
        repair.follow_ledger()
    else:
        # A study that has just been registered has no Optuna studies yet: nothing is broken.
        created = 0
    repairs = Repairs(created, freed, len(dead), repair.told, repair.dropped, repair.restored)
    if repairs:
        ledger.record_event(study.id, "reconciled", asdict(repairs))
    return repairs


def rebuild(
    study: RegisteredStudy[Ledger],
    projection: Projection,
    is_dead: Callable[[WorkerRecord], bool],
) -> Repairs:
    """Make Optuna's studies of this study again from the ledger; all others stay as they are.

    What a sampler keeps with its trials for itself (the state of CMA-ES) is not in the ledger:
    such a sampler begins a new generation.

    Raises:
        LedgerError: workers are at work on the study.
    """
    workers = study.ledger.workers(study.id)
    busy = [w for w in workers if w.left_at is None and not is_dead(w)]
    if busy:
        raise LedgerError(
            f"study {study.name!r} has {counted(len(busy), 'worker')}, the first on "
            f"{busy[0].host} (process "
            f"{busy[0].pid}): stop them before its Optuna tables are rebuilt"
        )
    projection.remove()
    study.ledger.unlink(study.id)
    return reconcile(study, projection, is_dead)


def restore(
    study: RegisteredStudy[Ledger], projection: Projection, trial: TrialRecord
) -> ProjectedTrial:
    """Give a trial that has a configuration its Optuna trial, with all that happened to it."""
    ledger, spec = study.ledger, study.spec
    arms = {arm.id: arm.name for arm in ledger.arms(study.id)}
    arm = arms[trial.arm_id]
    assert trial.config is not None
    runs = ledger.runs(trial.id)
    epochs = {run.id: ledger.epochs(run.id) for run in runs}
    tuning = trial.phase is Phase.TUNE
    past = Past(
        state=trial.state,
        values=trial.scores,
        curve={}
        if tuning and spec.protocol.objectives is not None
        else learning_curve(spec, runs, epochs, over_seeds=tuning),
        constraints=constraints_of(study, trial) if trial.state.finished else {},
        started=trial.started_at,
        finished=trial.finished_at,
    )
    if tuning:
        space = SpaceHistory(study).of(arm, trial.index)
        searched = distributions(space, grid=spec.search.sampler.enumerates)
        params = {name: trial.config[name] for name in searched}
    else:
        params, searched = given_params(study, arm, trial)
    part = part_of(study.record, arm, trial)
    return projection.add(part, trial.id, params, searched, past=past)


def constraints_of(study: RegisteredStudy[Ledger], trial: TrialRecord) -> dict[str, float]:
    """Return the constraints of a finished trial; none unless it is a tune trial that has them."""
    if trial.phase is not Phase.TUNE or study.spec.search.untrained == "score":
        return {}
    arms = {arm.id: arm.optimizer for arm in study.ledger.arms(study.id)}
    runs = study.ledger.runs(trial.id)
    epochs = {run.id: study.ledger.epochs(run.id) for run in runs}
    return constraints(study.spec, arms[trial.arm_id], trial, runs, epochs)


def catch_up(study: RegisteredStudy[Ledger], projection: Projection, trial: TrialRecord) -> None:
    """Tell Optuna every outcome of a search that the ledger knows, before its sampler learns.

    Args:
        study: open for writing.
        projection: of the same study.
        trial: of the search, in the tune phase.
    """
    _Repair(study, projection).follow_ledger(trial)


class _Repair:
    """One pass over a study, and what it repaired."""

    def __init__(self, study: RegisteredStudy[Ledger], projection: Projection) -> None:
        self._study = study
        self._ledger = study.ledger
        self._projection = projection
        self._arms = {arm.id: arm.name for arm in study.ledger.arms(study.id)}
        self.told = self.dropped = self.restored = 0

    def close_strays(self) -> None:
        """End what runs in Optuna and does not in the ledger."""
        # The ledger first: what a worker finishes meanwhile no longer runs in Optuna.
        trials = {trial.id: trial for trial in self._ledger.trials(self._study.id)}
        for part in self._projection.parts:
            states = self._projection.states(part).items()
            for running in [key for key, state in states if state is TrialState.RUNNING]:
                shown = self._projection.trial(running)
                trial = trials.get(shown.user_attrs.get(SLOT, -1))
                if trial is not None and trial.optuna_trial_id == shown._trial_id:
                    if trial.state.finished and trial.told:
                        self._tell(trial, shown._trial_id)
                        self.told += 1
                # A slot without an Optuna trial may be just being asked, or will adopt this one.
                elif trial is None or trial.state.finished or trial.optuna_trial_id is not None:
                    self._projection.tell(shown._trial_id, State.FAILED, None)
                    self.dropped += 1

    def follow_ledger(self, one: TrialRecord | None = None) -> None:
        """Tell Optuna the outcomes that it has not heard, and make the trials it has lost.

        Args:
            one: do it for its search alone.
        """
        # The ledger first: the Optuna trial that it names was written before it was named.
        if one is None:
            trials = self._ledger.trials(self._study.id)
        else:
            trials = self._ledger.trials(
                self._study.id, phase=one.phase, arm_id=one.arm_id, replicate=one.replicate
            )
        parts = [part_of(self._study.record, self._arms[each.arm_id], each) for each in trials]
        shown = {part: self._projection.states(part) for part in set(parts)}
        for trial, part in zip(trials, parts, strict=True):
            known = trial.optuna_trial_id
            self._follow(trial, None if known is None else shown[part].get(known))

    def _tell(self, trial: TrialRecord, optuna_id: int) -> None:
        constraints = constraints_of(self._study, trial)
        self._projection.tell(optuna_id, trial.state, trial.scores, constraints)

    def _follow(self, trial: TrialRecord, shown: TrialState | None) -> None:
        known = trial.optuna_trial_id
        if not trial.state.finished:
            lost = known is not None and (shown is None or shown.is_finished())
            # Looked at again, since it may have been begun or finished in between.
            if lost and self._ledger.trial(trial.id) == trial:
                self._ledger.link(trial.id, None)
                self.restored += 1
            return
        if known is not None and shown is not None:
            if not trial.told:
                self._tell(trial, known)
                self._ledger.mark_told_to_optuna(trial.id)
                self.told += 1
            return
        if trial.config is not None and (known is not None or not trial.told):
            restored = restore(self._study, self._projection, trial)
            self._ledger.link(trial.id, restored.id)
            self.restored += 1
        # A trial that failed before it got a configuration is nothing that Optuna could show.
        if not trial.told or known is not None:
            self._ledger.mark_told_to_optuna(trial.id)
