"""The studies of a database, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.service.output import table
from indian_tune.study.completion import completion
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from indian_tune.ledger import LedgerReader, StudyRecord


@dataclass(frozen=True)
class Registered:
    """A study of a database.

    Attributes:
        study: its record.
        state: how far it is, in words.
        done: how many of its trials have ended.
        total: how many there are.
    """

    study: StudyRecord
    state: str
    done: int
    total: int

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        return {
            "name": self.study.name,
            "created_at": self.study.created_at,
            "state": self.state,
            "trials_finished": self.done,
            "trials": self.total,
        }


def registered(ledger: LedgerReader) -> list[Registered]:
    """Return the studies of a database."""
    from indian_tune.engines import lost_workers

    found = []
    for study in ledger.studies():
        parts, now = ledger.progress(study.id), completion(ledger, study)
        there = [worker for worker in ledger.workers(study.id) if worker.left_at is None]
        working = len(there) > len(lost_workers(ledger, study))
        state = "finished" if now.finished() else "running" if working else "not finished"
        if now.failed:
            state += f", {counted(len(now.failed), 'trial')} failed"
        done, total = sum(part.finished for part in parts), sum(part.total for part in parts)
        found.append(Registered(study, state, done, total))
    return found


def registered_table(studies: Sequence[Registered], title: str) -> Table:
    """Return studies of a database for people."""
    made = table("study", "registered", "state", "trials", title=title, right=("trials",))
    for each in studies:
        at = f"{each.study.created_at:%Y-%m-%d %H:%M} UTC"
        made.add_row(each.study.name, at, each.state, f"{each.done}/{each.total}")
    return made
