"""Progress of a study, as `indian-tune status` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indian_tune.service.output import Shown, headed, table
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from indian_tune.engines import ArrayStatus
    from indian_tune.ledger import ArmProgress, LedgerReader, StudyRecord, WorkerRecord
    from indian_tune.study import ArmResult, Completion


# Of those that were lost, the latest are shown.
SHOWN_LOSSES = 5


@dataclass(frozen=True)
class StudyStatus(Shown):
    """The status of a study at one moment.

    Attributes:
        address: of the database, to be shown.
        study: the study.
        ranked: its arms, best first.
        workers: those who are there.
        held: worker id → the trial that it holds.
        packings: worker id → the shape of its packs, where it trains runs side by side.
        lost: ids of workers that are there by the record, and dead or silent.
        losses: what is known of each worker that was lost before, oldest first.
        taken_over: how many trials were taken over from workers that died or fell silent.
        repeated: how many epochs were trained again because a checkpoint was older.
        completion: how far the study is.
        parts: each arm's progress in each phase.
        arrays: of workers that were submitted to Slurm.
    """

    address: str
    study: StudyRecord
    ranked: list[ArmResult]
    workers: list[WorkerRecord]
    held: dict[str, str]
    packings: dict[str, dict[str, Any]]
    lost: list[str]
    losses: list[dict[str, Any]]
    taken_over: int
    repeated: int
    completion: Completion
    parts: list[ArmProgress]
    arrays: list[ArrayStatus]

    def __repr__(self) -> str:
        return f"<StudyStatus {self.study.name!r}: {_done(self.parts)} finished>"

    @property
    def abandoned(self) -> str:
        """Trials that are begun and that no worker holds any more."""
        there = {worker.id for worker in self.workers}
        return ", ".join(trials for worker, trials in self.held.items() if worker not in there)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.completion.finished()

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        from indian_tune.service.ranking import ranking_json

        return {
            "study": self.study.name,
            "storage": self.address,
            "created_at": self.study.created_at.isoformat(),
            "finished": self.finished,
            "failed": self.completion.failed,
            "workers": [
                {
                    **vars(worker),
                    "trial": self.held.get(worker.id),
                    "packing": self.packings.get(worker.id),
                    "lost": worker.id in self.lost,
                }
                for worker in self.workers
            ],
            "lost_workers": self.losses,
            "trials_taken_over": self.taken_over,
            "epochs_repeated": self.repeated,
            "slurm": [array.as_json() for array in self.arrays],
            "arms": ranking_json(self.ranked),
        }

    def shown(self, progress: RenderableType | None = None) -> RenderableType:
        """Return it for people.

        Args:
            progress: shown in place of the table of arms.
        """
        from rich.console import Group

        from indian_tune.ledger import needed_option
        from indian_tune.outcome import outcome_of
        from indian_tune.service.progress import progress_table
        from indian_tune.service.ranking import (
            edge_notes,
            failure_notes,
            former_notes,
            front_table,
            level_notes,
            ranking_table,
        )

        parts: list[RenderableType] = [
            headed(
                self.study.name,
                f", registered {self.study.created_at:%Y-%m-%d %H:%M} UTC, in {self.address}",
            ),
            progress or progress_table(self.parts),
        ]
        if self.workers:
            made = table("worker", "host", "device", "trial", "last heartbeat", title="Workers")
            for worker in self.workers:
                trial = self.held.get(worker.id, "–")
                beat = f"{worker.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC"
                # Whole ids are for programs; these are told apart by their beginnings.
                packing = self.packings.get(worker.id)
                device = worker.device + (
                    f", {counted(packing['slots'], 'lane')}" if packing else ""
                )
                beat += " (lost)" if worker.id in self.lost else ""
                made.add_row(worker.id[:8], worker.host, device, trial, beat)
            parts.append(made)
        if self.abandoned:
            parts.append(f"\nStarted, then left by a worker that died: {self.abandoned}")
        if self.losses:
            made = table("worker", "host", "trial", "exit status", "", title="Lost workers")
            for loss in self.losses[-SHOWN_LOSSES:]:
                status = "–" if loss["status"] is None else str(loss["status"])
                if "reason" in loss:
                    status = "no progress"
                trial = ", ".join(loss["trials"]) or "–"
                made.add_row(loss["worker"][:8], loss["host"], trial, status, loss["at"])
            parts.append(made)
        counts = {
            "Trials taken over from workers that died or fell silent": self.taken_over,
            "Epochs trained twice": self.repeated,
        }
        if any(counts.values()):
            told = " ".join(f"{what}: {count}." for what, count in counts.items() if count)
            parts.append(f"\n{told}")
        if self.arrays:
            made = table("array", "workers", "submitted", "jobs", "logs", title="Slurm")
            for submission in self.arrays:
                array = submission.array
                submitted = f"{array.at:%Y-%m-%d %H:%M} UTC"
                made.add_row(
                    array.job or "–", str(array.workers), submitted, str(submission), array.logs
                )
            parts.append(made)
        if any(result.value is not None for result in self.ranked):
            outcome = outcome_of(self.study.spec)
            objectives = self.study.spec["protocol"].get("objectives") or ()
            front = front_table(self.ranked, objectives, outcome)
            parts += [
                ranking_table(self.ranked, outcome),
                *([] if front is None else [front]),
                *level_notes(self.ranked),
            ]
            parts += edge_notes(self.ranked)
        parts += former_notes(self.ranked)
        parts += failure_notes(
            self.ranked,
            self.study.name,
            needed_option(self.address),
            outcome_of(self.study.spec),
        )
        if self.completion.failed:
            frozen = f", so {self.completion.withheld}" if self.completion.withheld else ""
            parts.append(f"\n{self.completion.failures}{frozen}")
        return Group(*parts)

    def _show(self, console: Console) -> None:
        console.print(self.shown())


def brief(study: str, storage: str | None) -> str:
    """Return in a few words how far a study is; never raises, as a ``repr`` must not.

    Args:
        study: its name.
        storage: address of the database; ``None`` for the default.
    """
    from indian_tune.ledger import LedgerReader as Reader
    from indian_tune.study.completion import completion

    try:
        with Reader.open(storage) as ledger:
            record = ledger.study(study)
            state = "finished" if completion(ledger, record).finished() else "not finished"
            return f"{_done(ledger.progress(record.id))} done, {state}"
    except Exception:  # noqa: BLE001 - whatever is wrong with the database, or that it is gone
        return "cannot be read, status() says why"


def _done(parts: Sequence[ArmProgress]) -> str:
    done, total = (sum(getattr(part, name) for part in parts) for name in ("finished", "total"))
    return f"{done} of {counted(total, 'trial')}"


def look(ledger: LedgerReader, study: StudyRecord) -> StudyStatus:
    """Return the status of a study."""
    from indian_tune.engines import array_status, lost_workers
    from indian_tune.ledger import LOST
    from indian_tune.ledger.slots import TAKEN_OVER
    from indian_tune.study import rank
    from indian_tune.study.completion import completion, held_trials

    held = held_trials(ledger, study)
    return StudyStatus(
        ledger.address,
        study,
        rank(ledger, study),
        [worker for worker in ledger.workers(study.id) if worker.left_at is None],
        {worker: ", ".join(trials) for worker, trials in held.items()},
        _packings(ledger, study.id),
        [worker.id for worker in lost_workers(ledger, study)],
        [
            {**event.data, "at": f"{event.at:%Y-%m-%d %H:%M:%S} UTC"}
            for event in ledger.events(study.id, LOST)
        ],
        len({event.trial_id for event in ledger.events(study.id, TAKEN_OVER)}),
        _repeated(ledger, study.id),
        completion(ledger, study),
        ledger.progress(study.id),
        array_status(ledger, study.id),
    )


def _repeated(ledger: LedgerReader, study_id: int) -> int:
    """Return how many epochs of runs were trained more than once."""
    from indian_tune.ledger.slots import REPEATED

    return len(
        {
            (run, epoch)
            for event in ledger.events(study_id, REPEATED)
            for run, (first, last) in event.data["epochs"].items()
            for epoch in range(first, last + 1)
        }
    )


def _packings(ledger: LedgerReader, study_id: int) -> dict[str, dict[str, Any]]:
    """Return the shape of the packs of each worker that has any."""
    from indian_tune.ledger import PACKED

    keys = ("slots", "convolutions", "shrink")
    return {
        event.data["worker"]: {key: event.data[key] for key in keys}
        for event in ledger.events(study_id, PACKED)
    }


def choose_study(ledger: LedgerReader, name: str | None) -> StudyRecord:
    """Return the study of that name, or the only one there is.

    Raises:
        InputError: there is no such study, or several and no name.
    """
    from indian_tune.errors import InputError

    if name is not None:
        return ledger.study(name)
    studies = ledger.studies()
    if len(studies) == 1:
        return studies[0]
    names = ", ".join(study.name for study in studies) or "none"
    raise InputError(f"give the name of a study: {ledger.address} contains {names}")
