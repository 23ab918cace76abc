"""Mending what a crash left half-written, whenever a study is opened for work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from indian_tune.ledger import FINISHED
from indian_tune.study.projection import CONFIRM, SLOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.ledger import Ledger, StudyRecord, WorkerRecord
    from indian_tune.study.projection import Projection


@dataclass(frozen=True)
class Repairs:
    """What was found and mended.

    Attributes:
        freed: trials taken from workers of this host that are dead.
        told: finished trials whose outcome Optuna had not heard.
        dropped: Optuna trials left running that belong to no trial of the ledger.
    """

    freed: int = 0
    told: int = 0
    dropped: int = 0

    def __bool__(self) -> bool:
        return any((self.freed, self.told, self.dropped))


def reconcile(
    ledger: Ledger,
    projection: Projection,
    study: StudyRecord,
    is_dead: Callable[[WorkerRecord], bool],
) -> Repairs:
    """Bring leases and Optuna's tables in line with the ledger. Safe beside working workers.

    Args:
        ledger: open for writing.
        projection: of the same study.
        study: to mend.
        is_dead: whether a worker that has not said good-bye is known to be gone; a worker on
            another host never is, its leases simply expire.
    """
    freed = sum(
        ledger.leave(worker.id)
        for worker in ledger.workers(study.id)
        if worker.left_at is None and is_dead(worker)
    )
    told = 0
    for trial in ledger.trials(study.id, states=tuple(FINISHED)):
        if trial.told:
            continue
        if trial.optuna_trial_id is not None:
            projection.tell(trial.optuna_trial_id, trial.state, trial.value)
            told += 1
        ledger.mark_told(trial.id)
    projected = {trial.id: trial.optuna_trial_id for trial in ledger.trials(study.id)}
    dropped = 0
    for part in (*(arm.name for arm in ledger.arms(study.id)), CONFIRM):
        for orphan in projection.trials(part, states=(TrialState.RUNNING,)):
            owner = orphan.user_attrs.get(SLOT)
            # A slot without an Optuna trial may be just being asked, or will adopt this one.
            if owner in projected and projected[owner] in (None, orphan._trial_id):
                continue
            projection.drop(orphan._trial_id)
            dropped += 1
    repairs = Repairs(freed=freed, told=told, dropped=dropped)
    if repairs:
        ledger.record_event(study.id, "reconciled", vars(repairs))
    return repairs
