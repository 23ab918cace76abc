"""Records results of trials in the database, for the trial loop of every engine."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.errors import LeaseLostError
from indian_tune.study.controller import Controller, Decision
from indian_tune.text import counted
from indian_tune.used_code import own_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from indian_tune.ledger import State
    from indian_tune.study.assignment import RunningTrial
    from indian_tune.training import EpochRecord

logger = logging.getLogger(__name__)

# A frame of a traceback.
_PLACE = re.compile(r'^  File "(.+)", line (\d+)', re.MULTILINE)


def record_epoch_reports(
    controller: Controller, reports: Sequence[tuple[RunningTrial, Sequence[EpochRecord]]]
) -> list[Decision]:
    """Report one epoch of trials that train side by side, and the end of runs that ended with it.

    Args:
        controller: of the study.
        reports: each trial with the records of those of its open runs that were trained.

    Returns:
        What to do with each trial, in turn.
    """
    decisions = controller.report_pack(
        [
            (trial, {trial.open_runs[record.key].id: record for record in records})
            for trial, records in reports
        ]
    )
    return [
        decision if decision is Decision.DROP else _end_runs(controller, trial, records, decision)
        for (trial, records), decision in zip(reports, decisions, strict=True)
    ]


def _end_runs(
    controller: Controller, trial: RunningTrial, records: Iterable[EpochRecord], decision: Decision
) -> Decision:
    for record in records:
        if record.diverged or record.epoch == trial.assignment.epochs:
            try:
                what = record.not_finite or "loss" if record.diverged else ""
                at_end = end_run(controller, trial, record.key, not_finite=what)
            except LeaseLostError:
                return Decision.DROP
            decision = Decision.PRUNE if at_end is Decision.PRUNE else decision
    return decision


def end_run(
    controller: Controller, trial: RunningTrial, key: str, *, not_finite: str = ""
) -> Decision:
    """Record the end of a run, which is then open no longer.

    Args:
        controller: of the study.
        trial: that the run belongs to.
        key: of the run.
        not_finite: what was not, of a run that diverged.

    Raises:
        LeaseLostError: another worker holds the trial now.
    """
    return controller.finish_run(trial, trial.open_runs.pop(key), not_finite=not_finite)


def end_trial(controller: Controller, trial: RunningTrial, decision: Decision) -> State | None:
    """Record how a trial ended.

    Args:
        controller: of the study.
        trial: that no worker trains any more.
        decision: ``CONTINUE`` when its runs have all ended.

    Returns:
        Its state; ``None`` if another worker has taken it over.
    """
    state = None
    try:
        if decision is Decision.PRUNE:
            state = controller.prune(trial)
        elif decision is Decision.CONTINUE:
            state = controller.finish(trial)
    except LeaseLostError:
        pass
    if state is None:
        logger.warning("%s: another worker took it over", trial.path)
    else:
        logger.info("%s: %s", trial.path, state)
    return state


def fail_attempt(
    controller: Controller, trial: RunningTrial, traceback: str, *, final: bool = False
) -> None:
    """Record that a trial raised an exception; it is tried again while it may be.

    Args:
        controller: of the study.
        trial: that no worker trains any more.
        traceback: of the exception.
        final: whether another attempt would meet the same, so that none is made.
    """
    try:
        state = controller.fail_attempt(trial, traceback, final=final)
    except LeaseLostError as lost:
        logger.warning("%s: %s", trial.path, lost)
        return
    reason = traceback.strip().splitlines()[-1]
    place = own_place((file, int(line)) for file, line in _PLACE.findall(traceback))
    where = "" if place is None else f" ({Path(place[0]).name}, line {place[1]})"
    then = "the trial has failed" if state.finished else "it will be tried again"
    logger.warning("%s: an attempt failed, %s: %s%s", trial.path, then, reason, where)


def give_back(controller: Controller, trials: Iterable[RunningTrial]) -> None:
    """Give trials back, to be continued from their checkpoints by whoever comes."""
    for trial in trials:
        try:
            controller.release(trial)
        except LeaseLostError as error:
            logger.warning("%s: %s", trial.path, error)


def warn_of_loss(trial: RunningTrial, epochs: int) -> None:
    """Say that a trial was begun before, and has no checkpoint to continue from.

    Args:
        trial: as claimed.
        epochs: that are trained again.
    """
    logger.warning(
        "no checkpoint of %s found: it starts from the beginning and trains %s again",
        trial.path,
        counted(epochs, "epoch"),
    )
