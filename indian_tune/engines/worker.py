"""A worker: claims trials, trains them and reports every epoch until the study is finished.

The same loop runs in every engine. It is the first place that loads torch.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from indian_tune.engines import outcomes
from indian_tune.engines.joining import joined_controller, registered_study
from indian_tune.engines.own_code import check_methods, check_optimizers
from indian_tune.engines.pack_shapes import PackShapes
from indian_tune.engines.runs import (
    keeps_weights,
    kept_folder,
    problem_of,
    training_runs,
)
from indian_tune.engines.trainers import Failure, Trainers, attempt
from indian_tune.engines.trials_in_hand import TrialsInHand
from indian_tune.engines.watchdog import watched
from indian_tune.errors import DeviceLostError, EngineError, LeaseLostError
from indian_tune.study.assignment import run_key
from indian_tune.study.controller import Controller, Decision
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.engines.watchdog import Watchdog
    from indian_tune.ledger import Phase
    from indian_tune.study.assignment import RunningTrial
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import CheckpointFolder, EpochRecord

logger = logging.getLogger(__name__)

# How long to wait before asking again when others hold the last trials: a share of the time that
# nothing could be claimed, so that many idle workers do not keep the database busy, and short
# phases end in time.
IDLE_SECONDS = 0.25
MOST_IDLE_SECONDS = 2.0
IDLE_SHARE = 1 / 8


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
        InputError: the study is not registered, its data are missing, its own code may not be
            imported or cannot be used, or torch cannot compute on the device.
    """
    from indian_tune.training import CheckpointFolder, Provenance, start_torch, usable_device

    with (
        watched(driver=settings.driver) as watchdog,
        registered_study(settings, patient=True) as study,
    ):
        watchdog.at(f"loading the problem of study {study.name}", epoch=False)
        start_torch(settings.threads)
        device = settings.torch_device or settings.device
        with _told_if_lost(settings.device):
            usable_device(device)
        spec = study.spec
        check_optimizers(spec)
        check_methods(spec)
        data = _Data(spec, settings.data_dir)
        checkpoints = CheckpointFolder(settings.artifacts / "checkpoints")

        with (
            _told_if_lost(settings.device),
            joined_controller(settings, study, settings.device, watchdog) as controller,
        ):
            worker_id = controller.worker_id
            logger.info("%s: worker %s with %s", study.name, worker_id[:8], settings.device)

            device_name = Provenance.of(device).device_name
            shapes = PackShapes(study, worker_id, device_name, settings.lanes)
            worker = _Worker(
                controller,
                data,
                Trainers(settings, spec, lambda: data.problem, checkpoints, shapes),
                checkpoints,
                kept_folder(settings.artifacts),
                should_stop,
                watchdog,
                on_epoch,
                one_by_one=settings.one_by_one,
            )
            worker.loop()


@contextmanager
def _told_if_lost(device: str) -> Iterator[None]:
    """Say of an error of the device that this process can do nothing more.

    Raises:
        DeviceLostError: after such an error.
        EngineError: the memory does not even suffice to begin.
    """
    import torch

    from indian_tune.training import is_out_of_memory

    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        if is_out_of_memory(error):
            raise EngineError(
                f"{device} does not have enough memory for the data set and one run ({reason}): "
                "free some (`nvidia-smi` shows what uses it), or use fewer --workers for each GPU"
            ) from error
        if not isinstance(error, torch.AcceleratorError):
            raise
        raise DeviceLostError(f"this process cannot use {device} any more ({reason})") from error


class _Data:
    """The problem of the search that is trained: the same for all, unless each has its own split.

    Raises:
        DataError: the data set is missing or damaged.
        InputError: see ``problem_of``.
    """

    def __init__(self, spec: StudySpec, folder: Path | None) -> None:
        self._spec, self._folder, self._replicate = spec, folder, 0
        self.problem = problem_of(spec, folder)

    def change_to(self, replicate: int) -> bool:
        """Take the problem of a search; return whether it is another than before."""
        if self._spec.problem.split == "study" or replicate == self._replicate:
            return False
        self.problem = problem_of(self._spec, self._folder, replicate)
        self._replicate = replicate
        return True


class _Worker:
    """The loop, and how trials go through it side by side."""

    def __init__(
        self,
        controller: Controller,
        data: _Data,
        trainers: Trainers,
        checkpoints: CheckpointFolder,
        kept: CheckpointFolder,
        should_stop: Callable[[], bool],
        watchdog: Watchdog,
        on_epoch: Callable[[], None] | None,
        *,
        one_by_one: bool,
    ) -> None:
        self._controller = controller
        self._data = data
        self._trainers = trainers
        self._in_hand = TrialsInHand(trainers.make, self._tell_epoch)
        self._checkpoints = checkpoints
        self._kept = kept
        self._should_stop = should_stop
        self._watchdog = watchdog
        self._on_epoch = on_epoch or (lambda: None)
        self._one_by_one = one_by_one
        self._trials: dict[int, RunningTrial] = {}

    def loop(self) -> None:
        """Work until the study is done."""
        # What was asked for in vain, and since when.
        phase: Phase | None = None
        since: float | None = None
        while not self._should_stop():
            self._watchdog.at("asking for a trial", epoch=False)
            self._fill()
            if self._trials:
                since = None
                self._advance()
            elif self._controller.done:
                return
            else:
                if since is None:
                    logger.info(
                        "no trial to take now: the remaining ones are held by other workers, or "
                        "wait for these (the next generation, the winners)"
                    )
                if since is None or phase is not self._controller.asked_for:
                    phase, since = self._controller.asked_for, time.monotonic()
                self._watchdog.idle()
                self._wait(time.monotonic() - since)
        self._save()
        outcomes.give_back(self._controller, self._trials.values())

    def _wait(self, idle: float) -> None:
        """Wait before asking again, less if the worker is asked to stop."""
        seconds = min(max(IDLE_SECONDS, IDLE_SHARE * idle), MOST_IDLE_SECONDS)
        until = time.monotonic() + seconds
        while not self._should_stop() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, IDLE_SECONDS))

    def _fill(self) -> None:
        """Claim trials until as many runs are in hand as there are lanes."""
        provenance = asdict(self._in_hand.trainer.provenance)
        while self._in_hand.running < self._trainers.lanes and not self._should_stop():
            beside = next(iter(self._trials.values()), None)
            trial = self._controller.claim(provenance, beside=beside)
            if trial is None:
                return
            if trial.id in self._trials:
                # It was taken from this worker unnoticed, and has come back under a new lease.
                self._end(self._trials[trial.id], Decision.DROP)
            if self._data.change_to(trial.lease.trial.replicate):
                # Nothing is in hand: only trials on the same data are claimed beside others.
                self._in_hand.restart()
            self._trials[trial.id] = trial
            spec = self._controller.spec
            self._in_hand.take(
                trial.id,
                training_runs(spec, trial),
                together=trial.assignment.together and not self._one_by_one,
                kept_in=self._kept if keeps_weights(spec, trial) else None,
            )
            logger.info("%s: taken, attempt %d", trial.path, trial.lease.trial.attempts)
            self._begin(trial)

    def _begin(self, trial: RunningTrial) -> None:
        """Begin the runs of a trial that are next; end the trial after its last."""
        self._watchdog.at(
            f"building the networks of {trial.path}", {trial.id: trial.path}, epoch=False
        )
        try:
            again = attempt(partial(self._put_in, trial))
        except LeaseLostError:
            self._end(trial, Decision.DROP)
            return
        if isinstance(again, Failure):
            self._fail_attempt(trial, again)
        elif again is None:
            self._end(trial, Decision.PRUNE)
        else:
            self._in_hand.release_ended(trial.id)
            if again:
                outcomes.warn_of_loss(trial, again)
            if not self._in_hand.is_open(trial.id):
                self._end(trial, Decision.CONTINUE)

    def _put_in(self, trial: RunningTrial) -> int | None:
        """Put the next runs of a trial into the trainer.

        Returns:
            How many recorded epochs will be trained again; ``None`` if the trial is pruned.
        """
        again = 0
        for key, done in self._in_hand.begin(trial.id):
            if not self._in_hand.is_open(trial.id, key):
                # Its last checkpoint was written, but its end was not recorded any more.
                if outcomes.end_run(self._controller, trial, key) is Decision.PRUNE:
                    return None
            elif done == 0:
                again += trial.open_runs[key].epochs_done
        return again

    def _advance(self) -> None:
        """Train one epoch of every trial in hand."""
        if len(self._trials) > 1 and any(map(self._catches_up, self._trials.values())):
            # One of them may have ended the last worker; alone, it ends an attempt of its own.
            self._advance_one_by_one()
        else:
            self._advance_together()
        self._on_epoch()
        if self._in_hand.checkpoint_due() or any(map(self._catches_up, self._trials.values())):
            self._save()

    def _advance_together(self) -> None:
        done = attempt(self._in_hand.advance)
        if not isinstance(done, Failure):
            self._report(done)
            return
        if done.out_of_memory and self._trainers.halve():
            logger.warning(
                "%s does not have enough memory for so many runs at once: continuing with %s",
                self._in_hand.trainer.provenance.device_name,
                counted(self._trainers.lanes, "lane"),
            )
            self._restart()
            self._describe()
            return
        if len(self._trials) == 1:
            self._fail_attempt(next(iter(self._trials.values())), done)
        else:
            logger.warning(
                "a pack of runs failed (%s): its trials continue one by one",
                done.reason,
            )
        self._restart()
        self._advance_one_by_one()

    def _save(self) -> None:
        self._watchdog.at("writing checkpoints", epoch=False)
        self._in_hand.save()

    def _tell_epoch(self, epochs: Mapping[int, int], runs: int) -> None:
        paths = {trial: self._trials[trial].path for trial in epochs}
        named = [f"epoch {epoch} of {paths[trial]}" for trial, epoch in epochs.items()]
        what = f"a pack with {', '.join(named)}" if len(named) > 1 else named[0]
        self._watchdog.at(what, paths, runs=runs)

    def _catches_up(self, trial: RunningTrial) -> bool:
        """Whether a trial lost a worker, and trains again what was recorded before.

        Another death until it gets further would count, so it must not lose that work again.
        """
        return trial.lease.trial.attempts > 1 and self._in_hand.repeats(
            trial.id, {key: run.epochs_done for key, run in trial.open_runs.items()}
        )

    def _advance_one_by_one(self) -> None:
        """Train one epoch of each trial alone, to find the one that breaks a pack."""
        for trial in list(self._trials.values()):
            done = attempt(partial(self._in_hand.advance, [trial.id]))
            if isinstance(done, Failure):
                self._fail_attempt(trial, done)
                self._restart()
            else:
                self._report(done)

    def _restart(self) -> None:
        """Continue from the checkpoints in a new trainer; one that broke is in no defined state."""
        self._in_hand.restart()
        for trial in list(self._trials.values()):
            self._begin(trial)

    def _describe(self) -> None:
        """Record what the trials in hand are trained with from now on."""
        provenance = asdict(self._in_hand.trainer.provenance)
        for trial in list(self._trials.values()):
            try:
                self._controller.describe(trial, provenance)
            except LeaseLostError:
                self._end(trial, Decision.DROP)

    def _report(self, records: Mapping[int, Sequence[EpochRecord]]) -> None:
        """Report an epoch of the trials in hand, and do what is decided of each."""
        paths = {trial: self._trials[trial].path for trial in records}
        self._watchdog.at("recording an epoch", paths, epoch=False)
        reports = [(self._trials[trial], mine) for trial, mine in records.items() if mine]
        decisions = outcomes.record_epoch_reports(self._controller, reports)
        for (trial, _), decision in zip(reports, decisions, strict=True):
            self._in_hand.release_ended(trial.id)
            if decision is Decision.CONTINUE:
                # One that is to stop begins no other run.
                if not (self._in_hand.is_open(trial.id) and self._should_stop()):
                    self._begin(trial)
            else:
                self._end(trial, decision)

    def _end(self, trial: RunningTrial, decision: Decision) -> None:
        """Record how a trial ended, and let go of it."""
        self._let_go(trial)
        if outcomes.end_trial(self._controller, trial, decision) is not None:
            for run in trial.runs:
                self._checkpoints.discard(run_key(self._controller.study, run))

    def _fail_attempt(self, trial: RunningTrial, failure: Failure) -> None:
        """Record that a trial raised an exception."""
        self._let_go(trial)
        # Whoever trains in blocks sees the exception, and may have corrected it by the next one.
        final = failure.final and not self._one_by_one
        outcomes.fail_attempt(self._controller, trial, failure.traceback, final=final)

    def _let_go(self, trial: RunningTrial) -> None:
        del self._trials[trial.id]
        self._in_hand.remove(trial.id)
