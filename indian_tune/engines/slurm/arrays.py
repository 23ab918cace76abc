"""The arrays of workers that a study was given: what the record knows of them, and the queue."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from indian_tune.engines.slurm.cluster import Cluster
from indian_tune.errors import EngineError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from indian_tune.engines.slurm.cluster import Job
    from indian_tune.ledger import LedgerReader

# Kind of the events, and their steps: an array is intended, then submitted or dropped.
SLURM = "slurm"
INTENDED, SUBMITTED, DROPPED = "intended", "submitted", "dropped"


@dataclass(frozen=True)
class WorkerArray:
    """An array of workers, as the record knows it.

    Attributes:
        name: of its jobs; no other array has it.
        workers: how many jobs it has.
        logs: folder of the jobs' logs.
        at: when it was decided to submit it.
        job: id of the array; ``None`` where it is not known that it was submitted.
        dropped: whether it is known that it was not submitted.
    """

    name: str
    workers: int
    logs: str
    at: datetime
    job: str | None = None
    dropped: bool = False


def worker_arrays(ledger: LedgerReader, study_id: int) -> list[WorkerArray]:
    """Return the arrays of a study, oldest first."""
    arrays: dict[str, WorkerArray] = {}
    for event in ledger.events(study_id, SLURM):
        name, step = event.data["name"], event.data["step"]
        if step == INTENDED:
            data = event.data
            # An event may stand twice when the answer to the first was lost.
            arrays.setdefault(name, WorkerArray(name, data["workers"], data["logs"], event.at))
        elif step == SUBMITTED:
            arrays[name] = replace(arrays[name], job=event.data["job"])
        else:
            arrays[name] = replace(arrays[name], dropped=True)
    return list(arrays.values())


@dataclass(frozen=True)
class ArrayStatus:
    """An array, and its jobs in the queue.

    Attributes:
        array: as it is recorded.
        states: how many of its jobs are in each state; ``None`` where Slurm does not answer here.
        reasons: why jobs wait.
    """

    array: WorkerArray
    states: dict[str, int] | None
    reasons: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "job": self.array.job,
            "name": self.array.name,
            "workers": self.array.workers,
            "logs": self.array.logs,
            "at": self.array.at.isoformat(),
            "states": self.states,
            "reasons": list(self.reasons),
        }

    def __str__(self) -> str:
        if self.states is None:
            return "not known on this machine"
        told = ", ".join(f"{count} {state.lower()}" for state, count in self.states.items())
        if self.reasons:
            told += f" ({', '.join(self.reasons)})"
        return told or "no longer queued"


def array_status(ledger: LedgerReader, study_id: int) -> list[ArrayStatus]:
    """Return the arrays of a study that were submitted, and what has become of their jobs."""
    arrays = [array for array in worker_arrays(ledger, study_id) if not array.dropped]
    if not arrays:
        return []
    try:
        jobs = Cluster().jobs([array.name for array in arrays])
    except (InputError, EngineError):
        return [ArrayStatus(array, None) for array in arrays]
    return [_status(array, jobs) for array in arrays]


def _status(array: WorkerArray, jobs: Sequence[Job]) -> ArrayStatus:
    mine = [job for job in jobs if job.name == array.name]
    waiting = [job.reason for job in mine if job.state == "PENDING"]
    job = array.job or next((job.id for job in mine), None)
    return ArrayStatus(
        replace(array, job=job),
        dict(sorted(Counter(job.state for job in mine).items())),
        tuple(sorted({reason for reason in waiting if reason != "None"})),
    )
