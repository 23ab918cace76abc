"""A worker: claims trials, trains them, reports every epoch, until the study is done.

The same loop runs in every engine. It is the first place that loads torch.
"""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import asdict
from typing import TYPE_CHECKING

from indian_tune.engines.heartbeat import joined
from indian_tune.engines.interrupt import is_from_user
from indian_tune.engines.own_code import check_methods, check_optimizers
from indian_tune.engines.runs import (
    OpenTrial,
    keeps_weights,
    kept_folder,
    problem_of,
    run_key,
    take_in,
    trainer_of,
    training_run,
    warn_of_loss,
)
from indian_tune.errors import IndianTuneError, LeaseLostError
from indian_tune.imports import imports_allowed
from indian_tune.ledger import PACKED, Ledger, RunRecord
from indian_tune.study.controller import Controller, Decision
from indian_tune.study.spec import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.training import CheckpointFolder, EpochRecord, Packing, Trainer

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
        InputError: the study is not registered, its data are missing, or its own code may not be
            imported or cannot be used.
    """
    import torch

    from indian_tune.training import CheckpointFolder, keep_freed_memory, spare_compiler

    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    spare_compiler()
    with (
        imports_allowed(settings.imports),
        Ledger.open(settings.storage, patient=True) as ledger,
    ):
        study = ledger.study(settings.study)
        spec = parse_study(study.spec, source=f"study {study.name!r} in {ledger.address}")
        check_optimizers(spec)
        check_methods(spec)
        problem = problem_of(spec, settings.data_dir)
        checkpoints = CheckpointFolder(settings.artifacts / "checkpoints")

        packing: Packing | None = None

        def make_trainer() -> Trainer:
            nonlocal packing
            trainer = trainer_of(
                spec,
                problem,
                settings.seen_as or settings.device,
                checkpoints,
                slots=settings.slots if packing is None else packing.slots,
                shrink=settings.shrink,
                convolutions=None if packing is None else packing.convolutions,
            )
            # Tried out once: another trial may come out differently, and the bits with it.
            packing = trainer.packing
            return trainer

        with joined(ledger, study, settings.device) as worker_id:
            logger.info("%s: worker %s with %s", study.name, worker_id[:8], settings.device)
            controller = Controller(
                ledger,
                study,
                spec,
                worker_id,
                until=settings.until,
                freeze_anyway=settings.freeze_anyway,
            )
            try:
                worker = _Worker(
                    controller,
                    make_trainer,
                    checkpoints,
                    kept_folder(settings.artifacts),
                    settings.slots,
                    should_stop,
                    on_epoch,
                )
                if worker.packing is not None:
                    # Workers may choose differently, and bits depend on it.
                    chosen = {"worker": worker_id, **asdict(worker.packing)}
                    ledger.record_event(study.id, PACKED, chosen)
                worker.loop()
            finally:
                controller.close()


class _Held(OpenTrial):
    """A trial in hand, with the epochs done of those of its runs that are in the trainer."""

    def __init__(self, trial: OpenTrial) -> None:
        super().__init__(trial.assignment, trial.runs)
        self.done: dict[str, int] = {}

    @property
    def next_runs(self) -> list[RunRecord]:
        """The runs to begin now: all, or one after the other if a pruner compares seeds."""
        waiting = [run for key, run in self.runs.items() if key not in self.done]
        if self.assignment.together:
            return waiting
        return waiting[:1] if not self.done else []

    @property
    def behind(self) -> list[str]:
        """The runs to advance: those least along, so that a report compares equal epochs."""
        least = min(self.done.values())
        return [key for key, done in self.done.items() if done == least]


class _Worker:
    """The loop, and how trials go through it side by side."""

    def __init__(
        self,
        controller: Controller,
        make_trainer: Callable[[], Trainer],
        checkpoints: CheckpointFolder,
        kept: CheckpointFolder,
        slots: int | None,
        should_stop: Callable[[], bool],
        on_epoch: Callable[[], None] | None,
    ) -> None:
        self._controller = controller
        self._make_trainer = make_trainer
        self._trainer = make_trainer()
        self.packing = self._trainer.packing
        self._slots = slots or (1 if self.packing is None else self.packing.slots)
        self._checkpoints = checkpoints
        self._kept = kept
        self._should_stop = should_stop
        self._on_epoch = on_epoch or (lambda: None)
        self._saved_at = time.monotonic()
        self._held: list[_Held] = []

    def loop(self) -> None:
        waiting = False
        while not self._should_stop():
            self._fill()
            if self._held:
                waiting = False
                self._advance()
            elif self._controller.done:
                return
            else:
                if not waiting:
                    logger.info("nothing to take now: others hold the trials that are left")
                    waiting = True
                time.sleep(IDLE_SECONDS)
        self._give_back()

    def _fill(self) -> None:
        """Claim trials until as many runs are in hand as there are slots."""
        provenance = asdict(self._trainer.provenance)
        while sum(len(held.done) for held in self._held) < self._slots:
            beside = self._held[0].assignment if self._held else None
            assignment = self._controller.claim(provenance, beside=beside)
            if assignment is None:
                return
            for known in list(self._held):
                if known.assignment.lease.trial.id == assignment.lease.trial.id:
                    # It was taken from this worker unnoticed, and has come back under a new lease.
                    self._end(known, Decision.DROP)
            held = _Held(OpenTrial.of(self._controller.study, assignment))
            self._held.append(held)
            logger.info("%s: taken, attempt %d", assignment.path, assignment.lease.trial.attempts)
            self._begin(held)

    def _begin(self, held: _Held) -> None:
        """Put the runs of a trial that are next into the trainer; end the trial after its last."""
        again = 0
        try:
            while held.next_runs:
                for run in held.next_runs:
                    if self._take_up(held, run) is Decision.PRUNE:
                        self._end(held, Decision.PRUNE)
                        return
                    if held.done.get(run_key(self._controller.study, run)) == 0:
                        again += run.epochs_done
        except LeaseLostError:
            self._end(held, Decision.DROP)
        except IndianTuneError:
            # The record itself is in trouble: another attempt would meet the same.
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a model raises, the study goes on
            self._break_off(held, error)
        else:
            if again:
                warn_of_loss(held.assignment, again)
            if not held.done:
                self._end(held, Decision.CONTINUE)

    def _take_up(self, held: _Held, run: RunRecord) -> Decision:
        controller = self._controller
        key = run_key(controller.study, run)
        done = self._trainer.add(
            training_run(controller.study, controller.spec, held.assignment, run)
        )
        if done < held.assignment.epochs:
            held.done[key] = done
            return Decision.CONTINUE
        # Its last checkpoint was written, but its end was not recorded any more.
        self._trainer.remove(key)
        return controller.finish_run(held.assignment, held.runs.pop(key), diverged=False)

    def _advance(self) -> None:
        """Train one epoch of every trial in hand."""
        try:
            records = self._trainer.advance([key for held in self._held for key in held.behind])
        except IndianTuneError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a model raises, the study goes on
            if len(self._held) == 1 or is_from_user(error):
                self._break_off(self._held[0], error)
            else:
                logger.warning("a pack broke (%s): its trials go on one by one", error)
            self._restart()
            self._advance_one_by_one()
        else:
            self._report(records)
        self._on_epoch()
        if time.monotonic() - self._saved_at > CHECKPOINT_SECONDS:
            self._trainer.save()
            self._saved_at = time.monotonic()

    def _advance_one_by_one(self) -> None:
        """Train one epoch of each trial alone, to find the one that breaks a pack."""
        for held in list(self._held):
            try:
                records = self._trainer.advance(held.behind)
            except IndianTuneError:
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                self._break_off(held, error)
                self._restart()
            else:
                self._report(records)

    def _restart(self) -> None:
        """Go on from the checkpoints in a new trainer; one that broke is in no defined state."""
        self._trainer = self._make_trainer()
        for held in list(self._held):
            held.done.clear()
            self._begin(held)

    def _report(self, records: Sequence[EpochRecord]) -> None:
        """Report an epoch of the trials in hand, and do what is decided of each."""
        by_key = {record.key: record for record in records}
        reports = []
        for held in self._held:
            mine = [by_key[key] for key in held.done if key in by_key]
            if mine:
                self._keep(held, mine)
                reports.append((held, mine))
                held.done.update({record.key: record.epoch for record in mine})
        decisions = take_in(self._controller, reports)
        for (held, _), decision in zip(reports, decisions, strict=True):
            for key in held.done.keys() - held.runs.keys():
                self._trainer.remove(key)
                del held.done[key]
            if decision is Decision.CONTINUE:
                self._begin(held)
            else:
                self._end(held, decision)

    def _keep(self, held: _Held, records: Sequence[EpochRecord]) -> None:
        """Keep the weights of runs at their end, before that is recorded: none is then without."""
        if keeps_weights(self._controller.spec, held.assignment):
            for record in records:
                if record.epoch == held.assignment.epochs and not record.diverged:
                    self._trainer.keep(record.key, self._kept)

    def _end(self, held: _Held, decision: Decision) -> None:
        """Record how a trial ended, and let go of it."""
        self._let_go(held)
        assignment = held.assignment
        try:
            if decision is Decision.PRUNE:
                state = self._controller.prune(assignment)
            elif decision is Decision.CONTINUE:
                state = self._controller.finish(assignment)
        except LeaseLostError:
            decision = Decision.DROP
        if decision is Decision.DROP:
            logger.warning("%s: another worker has taken it over", assignment.title)
            return
        logger.info("%s: %s", assignment.path, state)
        for run in assignment.runs:
            self._checkpoints.discard(run_key(self._controller.study, run))

    def _break_off(self, held: _Held, error: BaseException) -> None:
        """Record that a trial raised an exception; it is tried again while it may be.

        A model may raise anything, SystemExit and KeyboardInterrupt too; the user's Ctrl-C is
        raised on.
        """
        if is_from_user(error):
            raise error
        text = "".join(traceback.format_exception(error))
        self._let_go(held)
        try:
            state = self._controller.break_off(held.assignment, text)
        except LeaseLostError as lost:
            logger.warning("%s: %s", held.assignment.title, lost)
            return
        reason = text.strip().splitlines()[-1]
        logger.warning("%s broke and is now %s: %s", held.assignment.title, state, reason)

    def _give_back(self) -> None:
        """Checkpoint all trials in hand and give them back, to be continued by whoever comes."""
        self._trainer.save()
        for held in self._held:
            try:
                self._controller.release(held.assignment)
            except LeaseLostError as error:
                logger.warning("%s: %s", held.assignment.title, error)
        self._held.clear()

    def _let_go(self, held: _Held) -> None:
        self._held.remove(held)
        for key in held.done:
            self._trainer.remove(key)
