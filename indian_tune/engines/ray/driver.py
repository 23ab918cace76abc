"""The driver's side of the Ray engine: Ray asks and reports here, the controller decides."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.fs
import ray
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from indian_tune.engines import outcomes, process_info
from indian_tune.engines.keeper import FACTOR, STALLED
from indian_tune.engines.ray import actor as keys
from indian_tune.engines.runs import keeps_weights, training_runs
from indian_tune.engines.watchdog import LEAST_SECONDS
from indian_tune.errors import CheckpointError, LeaseLostError
from indian_tune.ledger import Phase
from indian_tune.study.controller import Controller, Decision
from indian_tune.training import EpochRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from ray.tune.experiment import Trial

    from indian_tune.engines.interrupt import Interrupt
    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.assignment import RunningTrial


logger = logging.getLogger(__name__)

# Seconds after which an actor reports the epochs that it has trained.
AHEAD_SECONDS = 0.5
# Seconds without a running trial after which a user is told what Ray may be waiting for.
IDLE_SECONDS = 30.0


class _Unsaved:
    """Pickled as nothing: Ray saves whatever it is given, and the ledger is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class RayDriver(_Unsaved):
    """Hands out the controller's assignments as Ray trials, and takes their results in.

    Everything it does may be done twice: Ray repeats the epochs after a checkpoint when a node is
    lost, and shows the last result again when it stops a trial.
    """

    def __init__(
        self,
        controller: Controller,
        settings: WorkerSettings,
        interrupt: Interrupt,
        folder: str,
        epoch_timeout: float | None,
    ) -> None:
        self._controller = controller
        self._epoch_timeout = epoch_timeout
        self._settings = settings
        self._interrupt = interrupt
        self._folder = folder
        self._spec_text = json.dumps(controller.spec.canonical())
        self._running: dict[str, RunningTrial] = {}
        self._described: dict[str, Any] = {}

    def suggest(self, ray_id: str, slots: int) -> dict[str, Any] | str | None:
        """Return what a new Ray trial is to train; nothing for now, or nothing any more.

        Args:
            ray_id: of the new trial.
            slots: how many may be under way at once.
        """
        if self._interrupt.requested or self._controller.done:
            return str(Searcher.FINISHED)
        if len(self._running) >= slots:
            return None
        # What a trial is computed with, its actor tells with its first result.
        trial = self._controller.claim({})
        if trial is None:
            return None
        controller, settings = self._controller, self._settings
        if not trial.open_runs:
            outcomes.end_trial(controller, trial, Decision.CONTINUE)
            return self.suggest(ray_id, slots)
        self._running[ray_id] = trial
        begun = sum(run.epochs_done for run in trial.open_runs.values())
        checkpoint = newest_checkpoint(self._folder, trial.id) if begun else None
        if begun and checkpoint is None:
            outcomes.warn_of_loss(trial, begun)
        data_dir = settings.data_dir
        keep = keeps_weights(controller.spec, trial)
        same = controller.spec.problem.split == "study"
        return {
            keys.LIMIT: self._epoch_timeout,
            keys.DEFAULT_LIMIT: self._default_limit(),
            keys.STACKS: self._stacks(ray_id),
            keys.GIVEN_UP: False,
            keys.SPEC: self._spec_text,
            keys.RUNS: [asdict(run) for run in training_runs(controller.spec, trial)],
            keys.RECORDED: {key: run.epochs_done for key, run in trial.open_runs.items()},
            keys.TOGETHER: trial.assignment.together,
            # Those that have ended included: bits depend on it, and an actor may begin midway.
            keys.LANES: len(trial.runs) if trial.assignment.together else 1,
            keys.THREADS: settings.threads,
            keys.IMPORTS: settings.imports,
            keys.DATA_DIR: None if data_dir is None else str(data_dir.absolute()),
            keys.RESUME: checkpoint,
            keys.KEEP: str(settings.artifacts.absolute()) if keep else None,
            keys.TRIAL: trial.id,
            keys.SPLIT: 0 if same else trial.lease.trial.replicate,
            keys.ATTEMPT: trial.lease.trial.attempts,
            keys.AHEAD: self._ahead(trial),
            # Attempts are counted from the beginning again after every new epoch; this only grows.
            keys.BEGUN: time.time_ns() // 1_000_000,
        }

    def record(self, ray_id: str, result: dict[str, Any]) -> bool:
        """Record one result of a Ray trial; return whether it is to stop."""
        trial = self._running.get(ray_id)
        if trial is None:
            return True
        try:
            described = self._described.get(ray_id)
            if result.get(keys.PROVENANCE, described) != described:
                (provenance,) = self._described[ray_id] = result[keys.PROVENANCE]
                self._controller.describe(trial, provenance)
            decision = Decision.CONTINUE
            for epoch in result.get(keys.EPOCHS, ()):
                decision = self._record(trial, epoch)
                if decision is not Decision.CONTINUE:
                    break
        except LeaseLostError:
            decision = Decision.DROP
        if decision is Decision.CONTINUE and keys.BROKE in result:
            del self._running[ray_id]
            outcomes.fail_attempt(
                self._controller, trial, result[keys.BROKE], final=result[keys.FINAL]
            )
            return True
        if decision is Decision.CONTINUE and trial.open_runs:
            return False
        del self._running[ray_id]
        outcomes.end_trial(self._controller, trial, decision)
        return True

    def actor_lost(self, ray_id: str, host: str | None = None, why: str = "") -> None:
        """Record that the actor of a trial is gone; the trial is tried again as another of Ray's.

        As with any worker that dies, this is the end of one attempt, which the ledger counts. An
        actor that has ended itself, because its trial made no progress, has left its stacks.

        Args:
            ray_id: of the trial.
            host: on which the actor ran; ``None`` for this one, as far as is known.
            why: what Ray says of it.
        """
        trial = self._running.pop(ray_id, None)
        if trial is None:
            return
        host = host or process_info.host()
        path = self._stacks(ray_id)
        stacks = "" if path is None or not Path(path).exists() else Path(path).read_text("utf-8")
        stalled = bool(stacks.strip())
        told = f"the actor of {trial.path} died on {host}"
        if stalled:
            Path(str(path)).unlink()
            limit = self._epoch_timeout or self._default_limit()
            told = (
                f"an epoch of {trial.path}{STALLED}{limit:.0f} s, longer than an epoch may take "
                "(protocol.epoch_timeout): its actor was ended"
            )
        self._controller.record_lost_process(
            trial, ray_id, host=host, reason=told if stalled else None
        )
        details = (stacks if stalled else why).strip()
        outcomes.fail_attempt(self._controller, trial, f"{details}\n{told}".strip())

    def _ahead(self, trial: RunningTrial) -> float:
        """Return the seconds in which an actor need not report an epoch.

        A trial that may be pruned is not to be trained further than it will be, and one that was
        lost before is to lose nothing again.
        """
        judged = trial.phase is Phase.TUNE and self._controller.spec.search.pruner.judges
        return 0.0 if judged or trial.lease.trial.attempts > 1 else AHEAD_SECONDS

    def _default_limit(self) -> float:
        return max(LEAST_SECONDS, FACTOR * self._controller.longest_epoch())

    def _stacks(self, ray_id: str) -> str | None:
        """Return the file in which the actor of a trial leaves its stacks, where files will do."""
        if "://" in self._folder:
            return None
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        return f"{self._folder}/stacks-{ray_id}.txt"

    def tidy(self, trial_id: int) -> None:
        """Remove Ray's checkpoints of a trial of the ledger that is finished."""
        if not self._controller.finished(trial_id):
            return
        filesystem, attempts = _attempts(self._folder, trial_id)
        for path in attempts:
            filesystem.delete_dir(path)

    def give_back(self) -> None:
        """Give every open trial back, to be continued from its checkpoint."""
        outcomes.give_back(self._controller, self._running.values())
        self._running.clear()

    def _record(self, trial: RunningTrial, epoch: dict[str, Any]) -> Decision:
        for key in epoch[keys.COMPLETE]:
            if key in trial.open_runs:
                decision = outcomes.end_run(self._controller, trial, key)
                if decision is not Decision.CONTINUE:
                    return decision
        records = [EpochRecord(**record) for record in epoch[keys.RECORDS]]
        records = [record for record in records if record.key in trial.open_runs]
        if not records:
            return Decision.CONTINUE
        (decision,) = outcomes.record_epoch_reports(self._controller, [(trial, records)])
        return decision


class DriverSearcher(Searcher):
    """Asks the driver where Ray asks for a configuration.

    Args:
        driver: has the study.
        slots: returns how many trials may be claimed at once.
    """

    def __init__(self, driver: RayDriver, slots: Callable[[], int]) -> None:
        super().__init__()
        self._driver = driver
        self._slots = slots

    def suggest(self, trial_id: str) -> Any:
        """Return the next configuration, ``None`` for now, or FINISHED."""
        return self._driver.suggest(trial_id, self._slots())

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear that Ray is done with a trial."""
        if error:
            self._driver.actor_lost(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: the ledger is the state."""


class DriverScheduler(FIFOScheduler):
    """Tells the driver every result, and Ray what was decided.

    When the user has asked to stop, every trial is paused after its epoch, for which Ray writes a
    checkpoint of it, and none is begun.

    Attributes:
        settled: whether no trial is under way.
    """

    def __init__(self, driver: RayDriver, interrupt: Interrupt) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._driver = driver
        self._interrupt = interrupt
        self.settled = True

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the next trial to begin or to continue with.

        The one that was claimed last: Ray gives it an actor that is free, and ends the one that
        was requested for it. Any other may have an actor that has been starting for seconds, and
        short trials that took its place one after the other would never let it.
        """
        live = tune_controller.get_live_trials()
        self.settled = not any(trial.status == trial.RUNNING for trial in live)
        if self._interrupt.requested:
            return None
        pending: list[Trial] = [trial for trial in live if trial.status == trial.PENDING]
        if pending:
            return max(pending, key=lambda trial: int(trial.config[keys.BEGUN]))
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record a result."""
        if self._driver.record(trial.trial_id, result):
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.PAUSE if self._interrupt.requested else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Record the last result."""
        if keys.EPOCHS in result:
            self._driver.record(trial.trial_id, result)


class Ticker(_Unsaved, tune.Callback):
    """Lets progress be shown while Ray has the main thread, and says once if nothing runs."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._idle_since: float | None = None
        self._told = False

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Show progress."""
        self._tick()
        states = {trial.status for trial in trials}
        now = time.monotonic()
        if "RUNNING" in states or "PENDING" not in states:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > IDLE_SECONDS and not self._told:
            self._told = True
            logger.warning(
                "Ray has started no trial for %.0f s: its processes are still starting, or others "
                "use the CPUs and GPUs of the cluster (`ray status` shows them)",
                now - self._idle_since,
                extra={"notice": True},
            )


class Tidier(_Unsaved, tune.Callback):
    """Removes the checkpoints of finished trials, so that they do not pile up."""

    def __init__(self, driver: RayDriver) -> None:
        self._driver = driver

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Tidy up after a trial that Ray is done with."""
        self._driver.tidy(trial.config[keys.TRIAL])


class LossWatcher(_Unsaved, tune.Callback):
    """Has lost actors recorded, and finds what every actor would meet again: a full disk.

    Ray would continue with the trial of a lost actor by itself. The ledger counts that attempt and
    hands the trial out again, if it may be tried again; so Ray's own has nothing left to do.

    Attributes:
        error: why checkpoints cannot be written; ``None`` while they can.
    """

    def __init__(self, driver: RayDriver, folder: str) -> None:
        self._driver = driver
        self._folder = folder
        self.error: CheckpointError | None = None

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Look at why Ray is about to give a trial another actor."""
        file = trial.pickled_error_file
        failure = None if file is None else ray.cloudpickle.loads(Path(file).read_bytes())
        # What a model raises is a result. Beside it an actor only reads and writes checkpoints.
        cause = failure.cause if isinstance(failure, RayTaskError) else None
        if isinstance(cause, OSError):
            self.error = unwritable(self._folder, cause)
        elif isinstance(cause, CheckpointError):
            self.error = cause
        else:
            trial.config[keys.GIVEN_UP] = True
            host = trial.temporary_state.location.hostname
            self._driver.actor_lost(trial.trial_id, host, "" if failure is None else str(failure))


def unwritable(folder: str, error: OSError) -> CheckpointError:
    """Return what to say when Ray cannot write into its folder."""
    reason = (error.strerror or str(error)).rstrip(".")
    return CheckpointError(
        f"checkpoints cannot be written to {folder}: {reason}. Free disk space or choose another "
        "folder; running trials then continue from their last checkpoint"
    )


class RayStopper(_Unsaved, tune.Stopper):
    """Stops everything when the user has asked to and every trial has its checkpoint.

    Or when no checkpoint can be written.
    """

    def __init__(
        self, interrupt: Interrupt, scheduler: DriverScheduler, losses: LossWatcher
    ) -> None:
        self._interrupt = interrupt
        self._scheduler = scheduler
        self._losses = losses

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Stop no trial on its own."""
        return False

    def stop_all(self) -> bool:
        """Say whether nothing more is to be done."""
        asked = self._interrupt.requested and self._scheduler.settled
        return asked or self._losses.error is not None


def trial_folder(trial: Trial) -> str:
    """Return the folder of a Ray trial: found again by the ledger's trial."""
    return f"trial-{trial.config[keys.TRIAL]}-{trial.config[keys.BEGUN]}-{trial.trial_id}"


def newest_checkpoint(folder: str, trial_id: int) -> str | None:
    """Return the newest checkpoint that Ray has kept of a trial of the ledger.

    Args:
        folder: of the experiment; a path or an address.
        trial_id: in the ledger.
    """
    filesystem, attempts = _attempts(folder, trial_id)
    for attempt in reversed(attempts):
        checkpoints = [path for path in _folders(filesystem, attempt) if "/checkpoint_" in path]
        if checkpoints:
            scheme, separator, _ = folder.partition("://")
            return f"{scheme}{separator}{checkpoints[-1]}" if separator else checkpoints[-1]
    return None


def _attempts(folder: str, trial_id: int) -> tuple[pyarrow.fs.FileSystem, list[str]]:
    """Return the folders of a trial's attempts, oldest first, and the file system they lie on."""
    filesystem, root = pyarrow.fs.FileSystem.from_uri(folder)
    prefix = f"trial-{trial_id}-"
    return filesystem, [
        path for path in _folders(filesystem, root) if path.rpartition("/")[2].startswith(prefix)
    ]


def _folders(filesystem: pyarrow.fs.FileSystem, path: str) -> list[str]:
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    return sorted(info.path for info in found if info.type is pyarrow.fs.FileType.Directory)
