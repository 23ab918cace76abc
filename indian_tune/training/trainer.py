"""Trains runs side by side on one device."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from indian_tune.errors import CheckpointError, InputError, unknown_name
from indian_tune.problems.stream import Stream
from indian_tune.problems.task import get_task
from indian_tune.text import counted
from indian_tune.training.augmentation import AUGMENTATIONS
from indian_tune.training.checkpoint import Checkpoint
from indian_tune.training.device import usable_device
from indian_tune.training.feed import IMAGE_RANK, Feed, fingerprint, fixed_subset
from indian_tune.training.live import MODEL, LiveRun, Setup
from indian_tune.training.loop import Loop
from indian_tune.training.packing import Packing, PackShape
from indian_tune.training.precision import FLOAT32
from indian_tune.training.probe import probe
from indian_tune.training.provenance import Provenance
from indian_tune.training.stacked import Stacked
from indian_tune.training.stream_feed import StreamFeed

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from indian_tune.problems.problem import Problem, Split
    from indian_tune.training.checkpoint import CheckpointFolder
    from indian_tune.training.execution import Execution
    from indian_tune.training.precision import Precision
    from indian_tune.training.run import EpochRecord, Run

log = logging.getLogger(__name__)

_MISFIT = (
    "The checkpoint of run %r does not fit the network or the optimizer (%s): "
    "the run starts from the beginning"
)

DEFAULT_PACKING = Packing()


@dataclass
class _Entry:
    """A run of the trainer, with what its checkpoints need."""

    live: LiveRun
    identity: dict[str, object] = field(default_factory=dict)
    saved_epoch: int = 0


class Trainer:
    """Trains any number of runs on one device, an epoch of each at a time.

    The metrics of a run are a function of the run, the problem and the trainer's ``provenance``:
    to the bit the same alone or beside others, in whatever process, interrupted or not.

    The caller keeps the books, in this order, so that nothing is lost whenever the process dies:

        trainer.add(run)                # continues from the run's checkpoint if it has one
        while trainer.active:
            records = trainer.advance()
            ...                         # 1. record them for good
            trainer.save()              # 2. only then move the checkpoints forward
        trainer.remove(run.key)

    A process that dies between 1 and 2 leaves records that are ahead of the checkpoint. The run
    then repeats those epochs and returns the same records again: recording must bear that.

    An exception out of ``advance`` leaves the trainer in no defined state: drop it and continue
    from the checkpoints in a new one.

    Args:
        problem: what to train, and on what.
        device: where to train, ``cpu`` or ``cuda`` with or without an index.
        checkpoints: where runs are saved and resumed from; ``None`` for neither.
        train_eval_size: number of training inputs for the training metrics, a fixed random subset;
            all if ``None``.
        precision: of the arithmetic in training and measuring.
        augmentation: ``none``, or ``crop-flip``: in training, every image is shifted by up to 4
            pixels in both directions, and half of them are mirrored.
        packing: how runs share the device.

    Raises:
        InputError: the device is not usable here, a number is below 1, or the augmentation is not
            known or needs images.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        device: torch.device | str = "cpu",
        checkpoints: CheckpointFolder | None = None,
        train_eval_size: int | None = None,
        precision: Precision = FLOAT32,
        augmentation: str = "none",
        packing: Packing = DEFAULT_PACKING,
    ) -> None:
        if train_eval_size is not None and train_eval_size < 1:
            raise InputError(
                f"train_eval_size = {train_eval_size!r} is not allowed: it must be at least 1, or "
                "None for all"
            )
        self._problem = problem
        self._device = usable_device(device)
        self._precision = precision
        if augmentation not in AUGMENTATIONS:
            raise InputError(unknown_name("augmentation", augmentation, AUGMENTATIONS))
        kind = problem.train.first(1).inputs
        if problem.train.streamed and augmentation != "none":
            raise InputError(
                f"augmentation = {augmentation!r} cannot be used with data that are read batch by "
                "batch: augment in the transform of the data set, and use 'none'"
            )
        if augmentation != "none" and kind.dim() != IMAGE_RANK:
            raise InputError(
                f"augmentation = {augmentation!r} needs images [N, channels, height, width], got "
                f"inputs of shape {[len(problem.train), *kind.shape[1:]]}: use 'none'"
            )
        self._augmentation = augmentation
        self._checkpoints = checkpoints
        self._runs: dict[str, _Entry] = {}
        self._pack_shape: PackShape | None = None
        train = self._feed(problem.train)
        subset = fixed_subset(problem.train, train_eval_size)
        self._setup = Setup(
            problem=problem,
            device=self._device,
            precision=precision,
            train=train,
            train_metrics=train if subset is problem.train else self._feed(subset),
            validation=None if problem.validation is None else self._feed(problem.validation),
            test=self._feed(problem.test),
            augmented=augmentation == "crop-flip",
        )
        self._execution = self._make_execution(packing)
        known = problem.train.sample()
        self._data = "" if checkpoints is None else fingerprint((known.inputs, known.labels))

    @property
    def active(self) -> tuple[str, ...]:
        """Keys of the runs that have epochs left, in the order in which they were added."""
        return tuple(key for key, held in self._runs.items() if held.live.active)

    @property
    def provenance(self) -> Provenance:
        """What the runs are computed with."""
        return Provenance.of(self._device, self._precision, self._execution.description)

    @property
    def pack_shape(self) -> PackShape | None:
        """The shape of the packs; ``None`` when runs are looped."""
        return self._pack_shape

    def add(self, run: Run) -> int:
        """Take up a run, from its newest intact checkpoint if it has one.

        The number of epochs is free to differ from that at the time of the checkpoint: a run can
        be extended.

        Args:
            run: its key must not be held already.

        Returns:
            Number of epochs done already, whose records were returned before; 0 for a new run.

        Raises:
            CheckpointError: the checkpoint under that key is of another run, is further than the
                run is to go, or was written by another version. One that is damaged is reported in
                the log, and the run starts from the beginning.
            HyperparameterError: the family or its configuration is not valid.
            InputError: the key is held already.
        """
        if run.key in self._runs:
            raise InputError(f"run {run.key!r} is already being trained: remove it first")
        held = _Entry(LiveRun(run, self._problem, self._device, self._precision))
        if self._checkpoints is not None:
            held.identity = self._identity(held.live)
            saved = self._checkpoints.load(run.key)
            if saved is not None:
                self._resume(held, saved)
        self._runs[run.key] = held
        return held.live.epoch

    def advance(self, keys: Iterable[str] | None = None) -> list[EpochRecord]:
        """Train one epoch of every active run, or of some of them, and measure it.

        Args:
            keys: which runs, so that those that are behind can catch up; all that are held if
                ``None``. One that is not active is passed over.

        Returns:
            A record per run that was trained, in turn. A run whose record says ``diverged`` is
            active no longer.

        Raises:
            InputError: no such run is held.
        """
        lives = [held.live for held in self._chosen(keys)]
        return self._execution.advance([live for live in lives if live.active])

    def save(self, keys: Iterable[str] | None = None) -> None:
        """Write the checkpoints of runs whose records are safe.

        Nothing is written for a run that has diverged, or has not moved since its last checkpoint.

        Args:
            keys: which runs; all that are held if ``None``.

        Raises:
            CheckpointError: a file cannot be written.
            InputError: no such run is held.
        """
        if self._checkpoints is None:
            return
        for held in self._chosen(keys):
            live = held.live
            if not live.diverged and live.epoch != held.saved_epoch:
                state = {
                    "identity": held.identity,
                    "provenance": asdict(self.provenance),
                    "live": live.state(),
                }
                self._checkpoints.save(live.run.key, Checkpoint(live.epoch, state))
                held.saved_epoch = live.epoch

    def save_weights(self, key: str, folder: CheckpointFolder) -> None:
        """Write the weights that a run is measured at, without what is needed to train on.

        Args:
            key: of the run, here and in the folder.
            folder: another one than that of the checkpoints from which runs are resumed.

        Raises:
            CheckpointError: the file cannot be written.
            InputError: no such run is held.
        """
        live = self._entry(key).live
        folder.save(key, Checkpoint(live.epoch, {MODEL: live.measured.state_dict()}))

    def remove(self, key: str) -> None:
        """Let go of a run and its memory, finished or not; its checkpoints stay.

        Raises:
            InputError: no such run is held.
        """
        self._entry(key)
        del self._runs[key]

    def _feed(self, split: Split) -> Feed | StreamFeed:
        if isinstance(split, Stream):
            return StreamFeed(split, self._problem, self._device, self._precision.dtype)
        return Feed(split, self._problem, self._device, self._precision.dtype)

    def _make_execution(self, packing: Packing) -> Execution:
        default = "stacked" if self._device.type == "cuda" else "loop"
        if self._problem.train.streamed and packing.execution == "stacked":
            log.warning("Data that are read in batches are trained one run after another.")
        # A pack takes its examples from the device.
        if (packing.execution or default) == "loop" or not isinstance(self._setup.train, Feed):
            return Loop(self._setup)
        if self._device.type == "cuda":
            from indian_tune.training.kernel_check import require_kernels

            require_kernels(self._device)
        shape = probe(
            self._setup, packing.typical, lanes=packing.lanes, convolutions=packing.convolutions
        )
        if shape is None:
            return Loop(self._setup)
        self._pack_shape = replace(shape, shrink=packing.shrink)
        return Stacked(self._setup, self._pack_shape)

    def _entry(self, key: str) -> _Entry:
        try:
            return self._runs[key]
        except KeyError:
            keys = ", ".join(map(repr, self._runs)) or "none"
            raise InputError(f"run {key!r} is not being trained; these are: {keys}") from None

    def _chosen(self, keys: Iterable[str] | None) -> list[_Entry]:
        return list(self._runs.values()) if keys is None else [self._entry(key) for key in keys]

    def _identity(self, live: LiveRun) -> dict[str, object]:
        """What a checkpoint must agree in for a new run to continue from it."""
        run, task = live.run, get_task(self._problem.task)
        return {
            "dataset": self._problem.dataset,
            "model": self._problem.model,
            "training images": self._data,
            "initial weights": fingerprint(live.model.parameters()),
            "seed": run.seed,
            "family": run.family,
            "config": live.config,
            "batch_size": run.batch_size,
            "dropout": run.dropout,
            "clip_norm": run.clip_norm,
            "ema_decay": run.ema_decay,
            "precision": self._precision.name,
            "augmentation": self._augmentation,
            **({} if task == get_task("classification") else {"task": task.name}),
        }

    def _resume(self, held: _Entry, saved: Checkpoint) -> None:
        live = held.live
        key = live.run.key
        expected, other = held.identity, saved.state.get("identity")
        if not isinstance(other, dict):
            log.warning(_MISFIT, key, "it does not name its run")
            return
        # Those of earlier versions hold neither.
        other = {"clip_norm": 0.0, "ema_decay": 0.0, **other}
        differing = [name for name in expected if expected[name] != other.get(name)]
        if differing:
            raise CheckpointError(
                f"the checkpoint of run {key!r} belongs to another run: "
                + "; ".join(f"{n} is {other.get(n)!r}, not {expected[n]!r}" for n in differing)
                + ". Use another key, or delete the checkpoint to start the run again"
            )
        if saved.epoch > live.run.epochs:
            raise CheckpointError(
                f"the checkpoint of run {key!r} has {counted(saved.epoch, 'epoch')}, more than "
                f"epochs = {live.run.epochs}. Give at least as many epochs, or delete the "
                "checkpoint"
            )
        try:
            live.restore(saved.epoch, saved.state["live"])
        except Exception as error:  # noqa: BLE001 - of a wrong structure torch raises anything
            log.warning(_MISFIT, key, f"{type(error).__name__}: {error}")
            # What was restored before the error must not stay.
            held.live = LiveRun(live.run, self._problem, self._device, self._precision)
            return
        held.saved_epoch = saved.epoch
        before, now = saved.state.get("provenance"), asdict(self.provenance)
        if before != now:
            log.warning(
                "Run %r continues with %s after %s: its metrics may differ in the last bits from "
                "those of a run that was not moved",
                key,
                now,
                before,
            )
