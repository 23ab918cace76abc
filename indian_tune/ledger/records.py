"""Frozen records that the ledger returns instead of database rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from indian_tune.ledger.states import Phase, State


def replicates_of(spec: Mapping[str, Any]) -> int:
    """Return how many searches every arm of a study has, from its canonical form."""
    return int(spec.get("search", {}).get("replicates", 1))


def search_name(arm: str, replicate: int, replicates: int) -> str:
    """Return the name of one search of an arm: the arm's own where it has a single one.

    Args:
        arm: its name.
        replicate: which of its searches, from 0.
        replicates: how many there are.
    """
    return arm if replicates == 1 else f"{arm}/r{replicate}"


@dataclass(frozen=True)
class StudyRecord:
    """A registered study."""

    id: int
    name: str
    spec: Mapping[str, Any]
    spec_hash: str
    version: str
    created_at: datetime
    host: str | None

    @property
    def data_name(self) -> str:
        """Name of its data set."""
        problem = self.spec.get("problem", {})
        return str(problem.get("dataset") or (problem.get("facts") or {}).get("dataset"))

    @property
    def replicates(self) -> int:
        """How many searches every arm has."""
        return replicates_of(self.spec)

    @property
    def key(self) -> str:
        """Its name, and when it was registered: other than that of a deleted study of its name."""
        return f"{self.name}-{int(self.created_at.timestamp() * 1e6):x}"

    def search_name(self, arm: str, replicate: int) -> str:
        """Return the name of one search of an arm."""
        return search_name(arm, replicate, self.replicates)


@dataclass(frozen=True)
class ArmRecord:
    """One optimizer with its search space."""

    id: int
    study_id: int
    position: int
    name: str
    optimizer: str


@dataclass(frozen=True)
class TrialRecord:
    """One slot of the budget, and what became of it.

    ``replicate`` tells the searches of an arm apart, each with seeds of its own, from 0. ``config``
    is ``None`` until the first claim has asked the sampler; ``value`` is the score under the
    study's objective, lower is better. ``attempts`` counts the attempts since the last new epoch,
    the one under way included; ``worker_id`` is who works on it, or did last; ``freezing`` tells
    which freezing of the winners made a trial of a later phase, from 1 (0 in the tune phase).
    ``values`` are the scores under all objectives of a study that has several.
    """

    id: int
    study_id: int
    arm_id: int
    phase: Phase
    replicate: int
    index: int
    freezing: int
    state: State
    config: Mapping[str, float] | None
    value: float | None
    values: Sequence[float] | None
    attempts: int
    reason: str | None
    optuna_trial_id: int | None
    told: bool
    worker_id: str | None
    lease_expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def scores(self) -> Sequence[float] | None:
        """The score under every objective of the study; ``None`` when there is none."""
        if self.values is not None:
            return self.values
        return None if self.value is None else [self.value]


@dataclass(frozen=True)
class RunRecord:
    """One training of one configuration with one seed."""

    id: int
    trial_id: int
    seed: int
    state: State
    epochs_planned: int
    epochs_done: int
    provenance: Mapping[str, Any] | None
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class WorkerRecord:
    """A process that works, or worked, on a study."""

    id: str
    study_id: int
    host: str
    pid: int
    process_started: str
    device: str
    started_at: datetime
    heartbeat_at: datetime
    left_at: datetime | None


@dataclass(frozen=True)
class EventRecord:
    """Something that happened to a study."""

    id: int
    study_id: int
    trial_id: int | None
    kind: str
    data: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True)
class Look:
    """The opening of a data set's test results by a study.

    Attributes:
        study: its name.
        by: the command that opened them.
        at: when.
    """

    study: str
    by: str
    at: datetime


@dataclass(frozen=True)
class Lease:
    """The right to work on one trial until another claim takes it over.

    Every write on behalf of a trial presents its lease; a lease that was taken over is refused.

    Attributes:
        trial: as it was claimed.
        token: tells this claim from every other.
        again: whether the trial was claimed before.
    """

    trial: TrialRecord
    token: str
    again: bool = False


@dataclass(frozen=True)
class ArmProgress:
    """How far one arm is in one phase, over all its searches.

    Attributes:
        counts: number of trials in each state that occurs.
        best: lowest value among complete trials.
        best_trial: index of the trial that has it.
        best_replicate: the search that the trial belongs to.
        epochs_done: epochs recorded over all runs.
        epochs_open: those of trials that are not finished.
    """

    arm: ArmRecord
    phase: Phase
    counts: Mapping[State, int]
    best: float | None
    best_trial: int | None
    best_replicate: int | None
    epochs_done: int
    epochs_open: int

    @property
    def total(self) -> int:
        """Number of trials."""
        return sum(self.counts.values())

    @property
    def finished(self) -> int:
        """Number of trials to which nothing more will happen."""
        return sum(count for state, count in self.counts.items() if state.finished)


@dataclass(frozen=True)
class ArmPlan:
    """What registration needs to know of an arm: each of its searches has so many trials."""

    name: str
    optimizer: str
    trials: int
    replicates: int = 1


@dataclass(frozen=True)
class Winner:
    """What one search of an arm has frozen, and the tune trial that it comes from if it was tuned.

    ``replicate`` tells which search it is.
    """

    arm: ArmRecord
    config: Mapping[str, float]
    trial: TrialRecord | None = None
    replicate: int = 0
