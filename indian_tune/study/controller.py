"""The controller: chooses configurations, decides on pruning, and ends trials.

Every engine talks to it alone, through ``claim``, ``report_pack`` and ``finish``, so the same study
gives the same record wherever its runs execute. It trains nothing.
"""

from __future__ import annotations

import statistics
from enum import Enum, auto
from typing import TYPE_CHECKING

from indian_tune.ledger import LOST, Phase, State
from indian_tune.ledger.slots import REPEATED
from indian_tune.study import faults
from indian_tune.study.assigner import Assigner
from indian_tune.study.completion import completion, shared_fault
from indian_tune.study.faults import fault_point
from indian_tune.study.finalists import call_finalists
from indian_tune.study.freeze import freeze
from indian_tune.study.levels import freeze_levels
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import constraints_of
from indian_tune.study.optuna.suggester import Suggester
from indian_tune.study.scoring import objective_values, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from indian_tune.ledger import (
        Lease,
        Ledger,
        RunRecord,
    )
    from indian_tune.study.assignment import RunningTrial
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.training.run import EpochRecord


class Decision(Enum):
    """What a worker does after a report."""

    CONTINUE = auto()
    PRUNE = auto()
    DROP = auto()
    """Another worker holds the trial now."""


class Controller:
    """Hands out the trials of one study and takes in what becomes of them.

    Args:
        study: open for writing.
        worker_id: on whose behalf trials are claimed; must have joined.
        until: the last phase to work on; with the tune phase nothing is frozen either.
        freeze_anyway: whether winners and levels are frozen although trials have failed among
            which they are chosen.
        projection: of the study; opened beside the ledger if ``None``.
    """

    def __init__(
        self,
        study: RegisteredStudy[Ledger],
        worker_id: str,
        *,
        until: Phase = Phase.CONFIRM,
        freeze_anyway: bool = False,
        projection: Projection | None = None,
    ) -> None:
        self.spec = study.spec
        self.study = study.record
        self._registered = study
        self._ledger = study.ledger
        self.worker_id = worker_id
        self._until = until
        self._freeze_anyway = freeze_anyway
        self._arms = {arm.id: arm for arm in study.ledger.arms(study.id)}
        self._waiting_arms = {
            arm.name: set(arm.waits_for) for arm in study.spec.arms if arm.waits_for
        }
        self._projection = projection or Projection.beside(study)
        self._pruner = self.spec.search.pruner.make(epochs=self.spec.protocol.tuning_epochs)
        suggester = Suggester(study, self._projection, self._pruner)
        self._assigner = Assigner(study, self._projection, suggester)
        self.asked_for: Phase | None = None
        """Phase of which a trial was asked for last."""
        # Known once a trial has ended other than by an exception.
        self._sound = freeze_anyway

    def close(self) -> None:
        """Close the connections to Optuna's tables; the ledger belongs to the caller."""
        self._projection.close()

    def claim(
        self, provenance: Mapping[str, Any], *, beside: RunningTrial | None = None
    ) -> RunningTrial | None:
        """Return the next trial to train, freezing what is chosen when a phase is over.

        Args:
            provenance: device, versions, precision and threads of the worker, kept per run.
            beside: a trial that it is to be trained with: one of the same optimizer and on the same
                data is wanted, because others cannot share a pack.

        Returns:
            ``None`` when there is nothing to do now; ``done`` tells whether there may be later.
        """
        if not self._sound and shared_fault(self._ledger, self.study.id) is not None:
            return None
        lease = self._claim(Phase.TUNE, beside)
        if lease is not None:
            return self._assigner.assign(lease, provenance)
        if self._until is Phase.TUNE or self._ledger.open_trials(self.study.id, Phase.TUNE):
            return None
        if self.spec.protocol.finalists:
            lease = self._claim(Phase.FINAL, beside)
            if lease is None and self._call_finalists():
                lease = self._claim(Phase.FINAL, beside)
            if lease is not None:
                return self._assigner.assign(lease, provenance)
        if self._until is Phase.FINAL:
            return None
        self._freeze()
        if self.spec.matched_arms:
            lease = self._claim(Phase.MATCH, beside)
            if lease is not None:
                return self._assigner.assign(lease, provenance)
            self._freeze_levels()
        if self._until is Phase.MATCH:
            return None
        halves = (Phase.HALF,) if self.spec.claims.half_budget else ()
        for phase in (*halves, Phase.CONFIRM):
            lease = self._claim(phase, beside)
            if lease is not None:
                return self._assigner.assign(lease, provenance)
        return None

    @property
    def done(self) -> bool:
        """Whether nothing is left for a worker to do.

        Every trial of the phases to work on is finished, and the winners and the levels of their
        controls are frozen; or they are not to be frozen, because trials have failed.
        """
        now = completion(self._ledger, self.study)
        return now.finished(self._until) or (now.stuck(self._until) and not self._freeze_anyway)

    def record_lost_process(
        self, trial: RunningTrial, name: str, *, host: str, reason: str | None = None
    ) -> None:
        """Record that a process is gone that trained a trial on behalf of this worker.

        Args:
            trial: that it trained.
            name: by which the process is told from others.
            host: on which it ran.
            reason: why it was ended; ``None`` where it died by itself.
        """
        data: dict[str, Any] = {"worker": name, "host": host, "device": "ray"}
        data |= {"trials": [trial.path], "status": None}
        if reason is not None:
            data["reason"] = reason
        self._ledger.record_event(self.study.id, LOST, data)

    def report_pack(
        self, reports: Sequence[tuple[RunningTrial, Mapping[int, EpochRecord]]]
    ) -> list[Decision]:
        """Record one epoch of several trials that train side by side, by run id.

        Returns:
            What to do with each, in turn.
        """
        lost = self._ledger.record_pack([(trial.lease, records) for trial, records in reports])
        fault_point(faults.AFTER_EPOCH)
        for trial, records in reports:
            again = trial.note(records)
            if again:
                self._ledger.record_event(
                    self.study.id, REPEATED, {"epochs": again}, trial_id=trial.id
                )
        return [
            Decision.DROP if trial.lease in lost else self._judge(trial, records)
            for trial, records in reports
        ]

    def finished(self, trial_id: int) -> bool:
        """Whether nothing more will happen to a trial of the study."""
        return self._ledger.trial(trial_id).state.finished

    def longest_epoch(self) -> float:
        """Return the seconds of the longest recorded epoch of a run of the study; 0 for none."""
        return self._ledger.longest_epoch(self.study.id)

    def describe(self, trial: RunningTrial, provenance: Mapping[str, Any]) -> None:
        """Record what a trial is trained with, where that shows only when it has begun.

        Raises:
            LeaseLostError: another worker holds the trial now.
        """
        self._ledger.describe(trial.lease, provenance)

    def _judge(self, trial: RunningTrial, records: Mapping[int, EpochRecord]) -> Decision:
        for run_id, record in records.items():
            trial.scores[run_id] = score(self.spec, record)
        tuning = trial.phase is Phase.TUNE
        if not trial.assignment.together or len(records) < len(trial.open_runs):
            # Of runs that train one after the other, only the last knows what all came to.
            return Decision.CONTINUE
        step = max(record.epoch for record in records.values())
        if tuning and self.spec.protocol.objectives is not None:
            # Optuna has no learning curves of trials with several objectives.
            return Decision.CONTINUE
        trial.assignment.projected.report(statistics.fmean(trial.scores.values()), step)
        fault_point(faults.AFTER_REPORT)
        # An epoch that is repeated after a crash was judged the first time.
        new = step == trial.assignment.projected.last_step
        if tuning and new and step < trial.assignment.epochs and self._should_prune(trial):
            return Decision.PRUNE
        return Decision.CONTINUE

    def finish_run(self, trial: RunningTrial, run: RunRecord, *, not_finite: str = "") -> Decision:
        """Record the end of one run; a pruner over seeds is asked here.

        Args:
            trial: under way.
            run: of the trial.
            not_finite: what was not, of a run that diverged, such as ``loss``.
        """
        if not_finite:
            trial.diverged[run.id] = not_finite
            trial.scores[run.id] = self.spec.chance
        state = State.DIVERGED if not_finite else State.COMPLETE
        self._ledger.finish_run(trial.lease, run.id, state)
        if trial.assignment.together or trial.phase is not Phase.TUNE:
            return Decision.CONTINUE
        place = [r.id for r in trial.runs].index(run.id)
        trial.assignment.projected.report(trial.scores[run.id], place)
        last = place == len(trial.runs) - 1
        if not last and self._should_prune(trial):
            return Decision.PRUNE
        return Decision.CONTINUE

    def finish(self, trial: RunningTrial) -> State:
        """Record the outcome of a trial whose runs have all ended.

        One diverged seed makes the trial diverged: a configuration that may blow up is no winner.
        """
        if trial.diverged:
            seeds: dict[str, list[str]] = {}
            for run in trial.runs:
                if run.id in trial.diverged:
                    seeds.setdefault(trial.diverged[run.id], []).append(str(run.seed))
            reasons = (f"{what} not finite on seed {', '.join(on)}" for what, on in seeds.items())
            return self._end(trial, State.DIVERGED, self.spec.chance, "; ".join(reasons))
        value = statistics.fmean(trial.scores[run.id] for run in trial.runs)
        return self._end(trial, State.COMPLETE, value, None)

    def prune(self, trial: RunningTrial) -> State:
        """Record that the pruner has stopped a trial."""
        value = statistics.fmean(trial.scores.values())
        return self._end(trial, State.PRUNED, value, f"by {self.spec.search.pruner.name}")

    def fail_attempt(self, trial: RunningTrial, traceback: str, *, final: bool = False) -> State:
        """Record that an attempt ended with an exception; it is tried again while it may be.

        Args:
            trial: that no worker trains any more.
            traceback: of the exception.
            final: whether another attempt would meet the same, so that none is made.
        """
        runs = [run.id for run in trial.runs]
        state = self._ledger.fail_attempt(trial.lease, runs, traceback, final=final)
        if state is State.FAILED:
            self._tell(trial, state, None)
        return state

    def release(self, trial: RunningTrial) -> None:
        """Give a trial back, to be continued from its checkpoint."""
        self._ledger.release(trial.lease)

    def _claim(self, phase: Phase, beside: RunningTrial | None) -> Lease | None:
        self.asked_for = phase
        alike = replicate = None
        if beside is not None:
            if self.spec.problem.split == "replicate":
                replicate = beside.lease.trial.replicate
            alike = [
                arm.id
                for arm in self._arms.values()
                if arm.optimizer == beside.assignment.arm.optimizer
            ]
        if phase is Phase.TUNE and self._waiting_arms:
            ready = self._ready_arms()
            alike = ready if alike is None else [arm_id for arm_id in alike if arm_id in ready]
        generation = self.spec.search.generation if phase is Phase.TUNE else None
        lease = self._ledger.claim(
            self.study.id,
            phase,
            self.worker_id,
            arm_ids=alike,
            replicate=replicate,
            generation=generation,
            budget=self.spec.budget if phase is Phase.TUNE else None,
        )
        if lease is not None:
            fault_point(faults.AFTER_CLAIM)
        return lease

    def _ready_arms(self) -> list[int]:
        """Return the arms that do not wait for the search of another one to end."""
        sources = set().union(*self._waiting_arms.values())
        busy = {
            arm.name
            for arm in self._arms.values()
            if arm.name in sources and self._ledger.open_trials(self.study.id, Phase.TUNE, arm.id)
        }
        self._waiting_arms = {
            name: known for name, known in self._waiting_arms.items() if busy & known
        }
        return [arm.id for arm in self._arms.values() if arm.name not in self._waiting_arms]

    def _should_prune(self, trial: RunningTrial) -> bool:
        pruner = self.spec.search.pruner
        if pruner.judges is None:
            return False
        with pruner.blamed("judging a trial"):
            return trial.assignment.projected.should_prune(self._pruner, trial.assignment.peers)

    def _call_finalists(self) -> bool:
        if self._ledger.open_trials(self.study.id, Phase.FINAL):
            return False
        return call_finalists(self._registered, anyway=self._freeze_anyway) > 0

    def _freeze(self) -> None:
        if freeze(self._registered, anyway=self._freeze_anyway):
            fault_point(faults.AFTER_FREEZE)

    def _freeze_levels(self) -> None:
        if freeze_levels(self._registered, anyway=self._freeze_anyway):
            fault_point(faults.AFTER_FREEZE)

    def _end(self, trial: RunningTrial, state: State, value: float, reason: str | None) -> State:
        values = None
        if trial.phase is Phase.TUNE and self.spec.protocol.objectives is not None:
            runs = self._ledger.runs(trial.id)
            rows = {run.id: self._ledger.epochs(run.id) for run in runs}
            values = objective_values(self.spec, runs, rows)
        self._ledger.finish(trial.lease, state, value, reason, values=values)
        self._sound = True
        fault_point(faults.AFTER_FINISH)
        self._tell(trial, state, values or [value])
        return state

    def _tell(self, trial: RunningTrial, state: State, values: Sequence[float] | None) -> None:
        constraints = None
        if trial.phase is Phase.TUNE and self.spec.search.untrained == "constraint":
            constraints = constraints_of(self._registered, self._ledger.trial(trial.id))
        self._projection.tell(trial.assignment.projected.id, state, values, constraints)
        fault_point(faults.AFTER_TELL)
        self._ledger.mark_told_to_optuna(trial.id)
