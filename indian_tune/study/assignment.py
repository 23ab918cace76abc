"""A claimed trial: its assignment and its progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indian_tune.study.completion import trial_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.ledger import ArmRecord, Lease, Phase, RunRecord, StudyRecord
    from indian_tune.study.optuna.projection import ProjectedTrial
    from indian_tune.training.run import EpochRecord


def run_key(study: StudyRecord, run: RunRecord) -> str:
    """Return the key of a run's checkpoints: the same for every worker, now and later."""
    return f"{study.key}-run-{run.id}"


@dataclass(frozen=True)
class Assignment:
    """A claimed trial: what to train, and where its reports go.

    Attributes:
        lease: the claim.
        arm: whose trial it is.
        search: name of the search of the arm that it belongs to.
        config: hyperparameters of the optimizer and of the training.
        epochs: length of each run.
        runs: one per seed, those an earlier attempt has finished included.
        together: whether the runs advance epoch by epoch side by side (otherwise one after the
            other, as a pruner over seeds needs).
        projected: the trial in Optuna's tables.
        peers: whom the pruner may compare it with, see :meth:`Projection.should_prune`.
    """

    lease: Lease
    arm: ArmRecord
    search: str
    config: Mapping[str, float]
    epochs: int
    runs: Sequence[RunRecord]
    together: bool
    projected: ProjectedTrial
    peers: Mapping[int, int] | None = None


@dataclass(eq=False)
class RunningTrial:
    """A trial under way: all that changes of it.

    Attributes:
        assignment: as claimed.
        open_runs: those that have not ended, by key.
        scores: of each run at its last epoch, by the run's id.
        diverged: what was not finite of the runs that diverged, by the run's id.
        reported: the last epoch of each run that was reported, and the furthest, by the run's id.
    """

    assignment: Assignment
    open_runs: dict[str, RunRecord]
    scores: dict[int, float] = field(default_factory=dict)
    diverged: dict[int, str] = field(default_factory=dict)
    reported: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def id(self) -> int:
        """The trial's id in the ledger."""
        return self.lease.trial.id

    @property
    def lease(self) -> Lease:
        """The claim."""
        return self.assignment.lease

    @property
    def phase(self) -> Phase:
        """The phase that the trial belongs to."""
        return self.lease.trial.phase

    @property
    def runs(self) -> Sequence[RunRecord]:
        """One per seed, as they were when the trial was claimed."""
        return self.assignment.runs

    def note(self, records: Mapping[int, EpochRecord]) -> dict[int, list[int]]:
        """Take in which epochs are reported, by the run's id.

        Returns:
            The first and the last epoch that are trained again, of each run that begins with it.
        """
        begun = {}
        for run in self.runs:
            if run.id in records:
                epoch = records[run.id].epoch
                last, furthest = self.reported.get(run.id, (None, run.epochs_done))
                if epoch <= furthest and (last is None or epoch <= last):
                    begun[run.id] = [epoch, furthest]
                self.reported[run.id] = epoch, max(epoch, furthest)
        return begun

    @property
    def path(self) -> str:
        """The trial as `indian-tune show` takes it."""
        return trial_path(self.assignment.search, self.lease.trial)
