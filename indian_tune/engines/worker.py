"""A worker: claims trials, trains them, reports every epoch, until the study is done.

The same loop runs in every engine. It is the first place that loads torch.
"""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import asdict
from typing import TYPE_CHECKING

from indian_tune.engines.presence import joined
from indian_tune.engines.runs import problem_of, run_key, take_in, trainer_of, training_run
from indian_tune.errors import IndianTuneError, LeaseLostError
from indian_tune.ledger import Ledger, RunRecord, StudyRecord
from indian_tune.study.controller import Assignment, Controller, Decision
from indian_tune.study.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.spec import StudySpec
    from indian_tune.training import CheckpointFolder, Trainer

logger = logging.getLogger(__name__)

# A checkpoint costs a disk's flush; more often than this it would slow short epochs down.
CHECKPOINT_SECONDS = 5.0
# How long to wait before asking again when others hold the last trials.
IDLE_SECONDS = 0.25


def work(
    settings: WorkerSettings,
    should_stop: Callable[[], bool],
    on_epoch: Callable[[], None] | None = None,
) -> None:
    """Work on a study until it is done or the worker is asked to stop.

    Args:
        settings: which study, and on what device.
        should_stop: asked after every epoch; when true, the trial is checkpointed and given back.
        on_epoch: called after every epoch that was reported.

    Raises:
        InputError: the study is not registered, or its data are missing.
    """
    import torch

    from indian_tune.training import CheckpointFolder, keep_freed_memory

    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    with Ledger.open(settings.storage, patient=True) as ledger:
        study = ledger.study(settings.study)
        spec = parse_study(study.spec, source=f"study {study.name!r} in {ledger.address}")
        problem = problem_of(spec, settings.data_dir)
        checkpoints = CheckpointFolder(settings.artifacts / "checkpoints")

        def make_trainer() -> Trainer:
            return trainer_of(spec, problem, settings.device, checkpoints)

        with joined(ledger, study, settings.device) as worker_id:
            controller = Controller(ledger, study, spec, worker_id, until=settings.until)
            try:
                worker = _Worker(
                    controller, make_trainer, checkpoints, spec, study, should_stop, on_epoch
                )
                worker.loop()
            finally:
                controller.close()


class _Worker:
    """The loop, and how one trial goes through it."""

    def __init__(
        self,
        controller: Controller,
        make_trainer: Callable[[], Trainer],
        checkpoints: CheckpointFolder,
        spec: StudySpec,
        study: StudyRecord,
        should_stop: Callable[[], bool],
        on_epoch: Callable[[], None] | None,
    ) -> None:
        self._controller = controller
        self._make_trainer = make_trainer
        self._trainer = make_trainer()
        self._checkpoints = checkpoints
        self._spec = spec
        self._study = study
        self._should_stop = should_stop
        self._on_epoch = on_epoch or (lambda: None)
        self._saved_at = 0.0

    def loop(self) -> None:
        provenance = asdict(self._trainer.provenance)
        while not self._should_stop():
            assignment = self._controller.claim(provenance)
            if assignment is None:
                if self._controller.done:
                    return
                time.sleep(IDLE_SECONDS)
                continue
            try:
                self._carry_out(assignment)
            except LeaseLostError as error:
                logger.warning("%s: %s", assignment.title, error)
                self._trainer = self._make_trainer()
            except IndianTuneError:
                # The record itself is in trouble: another attempt would meet the same.
                raise
            except Exception:  # noqa: BLE001 - whatever a model raises, the study goes on
                text = traceback.format_exc()
                self._trainer = self._make_trainer()
                state = self._controller.break_off(assignment, text)
                logger.warning(
                    "%s broke and is now %s: %s",
                    assignment.title,
                    state,
                    text.strip().splitlines()[-1],
                )

    def _carry_out(self, assignment: Assignment) -> None:
        self._saved_at = time.monotonic()
        todo = [run for run in assignment.runs if not run.state.finished]
        batches = [todo] if assignment.together else [[run] for run in todo]
        for batch in batches:
            decision = self._train(assignment, batch)
            for run in batch:
                self._trainer.remove(run_key(self._study, run))
            if decision is None:
                self._controller.release(assignment)
                return
            if decision is Decision.PRUNE:
                self._controller.prune(assignment)
                break
        else:
            self._controller.finish(assignment)
        for run in assignment.runs:
            self._checkpoints.discard(run_key(self._study, run))

    def _train(self, assignment: Assignment, batch: list[RunRecord]) -> Decision | None:
        """Train runs side by side to their end; ``None`` when asked to stop before it."""
        runs = {run_key(self._study, run): run for run in batch}
        done = {
            key: self._trainer.add(training_run(self._study, self._spec, assignment, run))
            for key, run in runs.items()
        }
        for key in [key for key, epochs in done.items() if epochs >= assignment.epochs]:
            # Its last checkpoint was written, but its end was not recorded any more.
            self._controller.finish_run(assignment, runs.pop(key), diverged=False)
        while runs:
            if self._should_stop():
                self._trainer.save(runs)
                return None
            # Runs whose checkpoints are not equally old catch up first, so that every report
            # compares seeds at the same epoch.
            behind = min(done[key] for key in runs)
            records = self._trainer.advance(tuple(key for key in runs if done[key] == behind))
            done.update({record.key: record.epoch for record in records})
            decision = take_in(self._controller, assignment, runs, records)
            self._on_epoch()
            for record in records:
                if record.diverged or record.epoch == assignment.epochs:
                    del runs[record.key]
            if decision is Decision.PRUNE:
                return decision
            if runs and time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
                self._trainer.save(runs)
                self._saved_at = time.monotonic()
        return Decision.CONTINUE
