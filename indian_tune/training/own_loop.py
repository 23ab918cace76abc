"""Loops of one's own: each run is a function of the user's, trained an epoch at a time.

The function runs in a thread of its own, which works only while the trainer waits for it: between
two epochs, ``run.epochs()`` hands control back. So runs take turns as the package's own do, and
records, leases, pruning and checkpoints are the same. What torch's, Python's and numpy's global
generators give is a function of the run's seed and the epoch; whether a run is the same to the bit
when it is interrupted is up to the loop.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from indian_tune.errors import CheckpointError, unknown_name
from indian_tune.optim.families import get_family
from indian_tune.optim.schedules import Schedule
from indian_tune.problems.task import get_task
from indian_tune.training import own_schedule
from indian_tune.training.checkpoint import Checkpoint, check_plain
from indian_tune.training.own_checkpoint import check_objects
from indian_tune.training.own_config import (
    Configuration,
    check_effect,
    no_attribute,
    raise_explained,
)
from indian_tune.training.own_evaluation import measure
from indian_tune.training.own_report import (
    REPORTED,
    SEALED,
    LoopError,
    SealedValue,
    StaleCheckpointError,
    read_report,
)
from indian_tune.training.run import EpochRecord
from indian_tune.training.startup import import_compiler_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

    from indian_tune.problems.loop import Loop
    from indian_tune.training.own_checkpoint import Stateful
    from indian_tune.training.run import Run

log = logging.getLogger(__name__)


class LoopRun:
    """One run, as a loop of one's own sees it.

    Attributes:
        seed: of the run. torch's, Python's and numpy's global generators are seeded from it before
            the function is called, and from it and the epoch before every epoch.
        device: where to train.
        data: as the ``Loop`` gives it.
        total_epochs: how many there are to train.
    """

    def __init__(
        self,
        run: Run,
        loop: Loop,
        device: torch.device,
        required: Sequence[str],
        saved: Checkpoint | None,
        discard: Callable[[], None],
    ) -> None:
        family = get_family(run.family)
        self._config = Configuration(family.complete(run.config))
        self._config_read = False
        self.seed = run.seed
        self.device = device
        self.data = loop.data
        self.total_epochs = run.epochs
        self._run = run
        self._loop = loop
        self._outcome = get_task(loop.task).judged()
        self._required = required
        self._saved = saved
        self._discard = discard
        self._optimizer: Optimizer | None = None
        self._scheduler: LRScheduler | None = None
        self._schedule: Schedule | None = None
        self._objects: dict[str, Stateful] = {}
        self._keys: frozenset[str] | None = None
        self._epoch = 0
        self._step = 0
        self._record: EpochRecord | None = None
        self._looping = self._in_epoch = self._resumed = False
        self._closed = self._abandoned = False
        self._error: BaseException | None = None
        self._finished = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        # In the context of the caller, who waits while it works: the two are one.
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._main,), name=f"loop {run.key}", daemon=True
        )
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(name)

    @property
    def batch_size(self) -> int:
        """Examples of a batch, as set by the study or searched by the arm."""
        self._config.read.add("batch_size")
        return self._run.batch_size

    @property
    def dropout(self) -> float:
        """Rate of dropout, as set by the study or searched by the arm."""
        self._config.read.add("dropout")
        return self._run.dropout

    @property
    def config(self) -> Mapping[str, float]:
        """The trial's hyperparameters of the optimizer, all of them."""
        self._config_read = True
        return self._config

    def optimizer(self, params: ParamsT, *, steps: int | None = None) -> Optimizer:
        """Return the arm's optimizer with the trial's configuration.

        Its schedule is stepped with it, its steps are counted, and both are in the checkpoints.

        Args:
            params: parameters or groups, as torch's optimizers take them.
            steps: of the whole run, the calls of ``step()`` in an epoch × ``total_epochs``: the
                length of a schedule that ends (``cosine``, ``linear``, ``wsd``). Without meaning
                for others.

        Raises:
            LoopError: it was called before, or ``steps`` is no number of steps or another one than
                the arm's space has.
            HyperparameterError: the schedule needs ``steps``.
        """
        if self._optimizer is not None:
            raise LoopError("the loop calls run.optimizer() twice: give all parameters to one call")
        config = own_schedule.with_length(self._run, steps)
        family = get_family(self._run.family)
        self._schedule = None if family.unscheduled else Schedule.of(family.complete(config))
        optimizer, scheduler = family.build(params, config)
        import_compiler_for(optimizer)
        self._config.built = True
        rates = [group["lr"] for group in optimizer.param_groups]
        self._optimizer, self._scheduler = optimizer, scheduler

        def stepped(*_: object) -> None:
            self._step += 1
            if scheduler is not None:
                own_schedule.check_rates(self._loop, self._run, optimizer, scheduler)
                scheduler.step()
            elif self._step == 1:
                own_schedule.check_first(self._loop, self._run, optimizer, rates, self._config.read)

        optimizer.register_step_post_hook(stepped)
        return optimizer

    def epochs(self, **objects: Stateful) -> Iterator[int]:
        """Yield the numbers of the epochs to train, from 1 on; pruning ends it early.

        Args:
            **objects: what a checkpoint holds, such as ``model=model, optimizer=optimizer``. A run
                that was interrupted continues from there. Without them it begins again, and
                continues from its checkpoint once :meth:`checkpoint` has named them.

        Raises:
            LoopError: it was called before, an epoch ends without a report, or the last one ends
                and the trial's optimizer has taken no step.
        """
        if self._looping:
            raise LoopError("the loop calls run.epochs() twice: call it once per run")
        self._looping = True
        if objects:
            self.checkpoint(**objects)
        self._park()
        while self._epoch < self.total_epochs and not self._closed:
            self._epoch += 1
            self._record, self._in_epoch, self._resumed = None, True, False
            yield self._epoch
            self._in_epoch = False
            if self._unreported():
                raise LoopError(
                    f"epoch {self._epoch} ended without a report: call run.report(train_loss=…, "
                    "error=…) once in every epoch"
                )
            self._check_configured()
            self._park()

    def report(self, **metrics: Any) -> None:
        """Report what an epoch came to; recorded when the epoch ends.

        Args:
            **metrics: numbers: ``train_loss``, ``train_error``, ``loss`` and ``error`` (on the
                validation data), and ``test_loss`` and ``test_error`` from :meth:`sealed`. Errors
                are shares in [0, 1]; of a task that is no classification, or has a metric of one's
                own, the metric that it is judged by, such as the MSE. With
                ``greater_is_better=True``, report the metric itself as ``error``. One that is not
                finite ends the run as diverged; of the sealed ones alone it is refused.

        Raises:
            LoopError: outside of an epoch, for the second time, with other keys than before,
                without one that is needed (``train_loss``, what trials are judged by, and
                ``test_error`` where the ``Loop`` has test data), or with a value that cannot be.
        """
        if not self._in_epoch:
            where = "after run.epochs() had ended" if self._closed else "outside run.epochs()"
            raise LoopError(
                f"the loop reports {where}: report within `for epoch in run.epochs()`, which ends "
                "when the run is complete or pruned"
            )
        if self._record is not None:
            raise LoopError(f"the loop reports epoch {self._epoch} twice: call run.report() once")
        known = {**REPORTED, **SEALED}
        for name in metrics:
            if name not in known:
                raise LoopError(unknown_name("run.report", name, known))
        for name in self._required:
            if name not in metrics:
                why = "which every epoch is recorded with"
                if name != "train_loss":
                    why = "which trials are judged by"
                raise LoopError(f"run.report() lacks {name}, {why}: add it")
        if self._loop.test is not None and "test_error" not in metrics:
            # An analysis would find out, when everything has been trained.
            raise LoopError(
                "the Loop has test data, but run.report() lacks test_error: add "
                "test_error=run.sealed(evaluate), or give the Loop no test=…"
            )
        if self._keys not in (None, metrics.keys()):
            before, now = (", ".join(sorted(keys)) for keys in (self._keys or (), metrics))
            raise LoopError(f"the loop reported {before} before, but {now} now: report the same")
        self._keys = frozenset(metrics)
        values, sealed, not_finite = read_report(metrics, self._outcome)
        self._record = EpochRecord(
            key=self._run.key,
            epoch=self._epoch,
            step=self._step,
            metrics=values,
            sealed=sealed,
            seconds=0.0,
            not_finite=not_finite,
        )
        if self._record.diverged:
            log.info("run %s: %s is not finite: diverged", self._run.key, not_finite)

    def sealed(self, evaluate: Callable[[Any], float]) -> SealedValue:
        """Measure on the test data, for :meth:`report` alone.

        They are opened on the fresh seeds only; in the search ``evaluate`` is not called. It is
        called once more when a study is tried before its registration, and the result is discarded.

        Args:
            evaluate: takes the test data of the ``Loop`` and returns a number.

        Raises:
            LoopError: the ``Loop`` has no test data.
        """
        return measure(self._loop, self._run, evaluate)

    @property
    def test(self) -> Any:
        """Not to be read: the test data are sealed."""
        raise LoopError(
            "the loop reads run.test, which is sealed: use run.sealed(evaluate), which opens it "
            "on the fresh seeds, and report its result"
        )

    def checkpoint(self, **objects: Stateful) -> None:
        """Say what a checkpoint holds; it is written after epochs, when their records are safe.

        A run that was interrupted takes its last state up when this is first called.

        Args:
            **objects: each has ``state_dict`` and ``load_state_dict``; of a compiled Keras model
                :class:`indian_tune.keras.ModelState` has.

        Raises:
            LoopError: one has not, holds more than tensors and plain values, or has another name
                than before; the checkpoint does not fit; or there is a compiled Keras model alone.
        """
        check_objects(objects)
        if self._objects and self._objects.keys() != objects.keys():
            raise LoopError(
                f"a checkpoint contained {', '.join(self._objects)} before, but would contain "
                f"{', '.join(objects)} now: give the same names"
            )
        first = not self._objects
        self._objects = dict(objects)
        if first:
            try:
                check_plain(self._state(), "its state")
            except CheckpointError as error:
                raise LoopError(f"run.checkpoint(): {error}") from error
            self._restore()

    def _restore(self) -> None:
        if self._saved is None or self._saved.epoch < self._epoch:
            return
        if self._in_epoch and self._saved.epoch == self.total_epochs:
            # There is no epoch left in which to take it up.
            return
        saved, self._saved = self._saved, None
        try:
            for name, each in self._objects.items():
                each.load_state_dict(saved.state["objects"][name])
            if self._scheduler is not None:
                self._scheduler.load_state_dict(saved.state["scheduler"])
        except Exception as error:
            self._discard()
            raise StaleCheckpointError(
                f"the checkpoint of run {self._run.key!r} does not match the objects of the loop "
                f"({type(error).__name__}: {error}): it was removed, and the run starts again"
            ) from error
        self._step, self._epoch = saved.state["step"], saved.epoch
        # Checkpoints of earlier versions have none.
        keys = saved.state.get("keys")
        self._keys = None if keys is None else frozenset(keys)
        # What this epoch has trained until now was thrown away.
        self._record, self._resumed = None, self._in_epoch

    def _state(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "keys": None if self._keys is None else sorted(self._keys),
            "objects": {name: each.state_dict() for name, each in self._objects.items()},
            "scheduler": None if self._scheduler is None else self._scheduler.state_dict(),
        }

    # The thread's side.

    def _main(self) -> None:
        try:
            self._go.acquire()
            if not self._abandoned:
                assert self._loop.train is not None
                self._loop.train(self)
                self._check_end()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            self._error = error
        finally:
            self._finished = True
            self._back.release()

    def _check_end(self) -> None:
        if not self._looping:
            raise LoopError("the loop returned without calling run.epochs()")
        if self._epoch < self.total_epochs and not self._closed:
            raise LoopError(
                f"the loop returned in epoch {self._epoch} of {self.total_epochs}, but runs are "
                "compared at equal lengths: let run.epochs() end it. In place of early stopping, "
                "search.pruner = 'median' ends hopeless trials, and a smaller protocol.epochs "
                "shortens all runs"
            )
        if self._in_epoch and self._unreported() and not self._closed:
            raise LoopError(f"the loop returned in epoch {self._epoch} without a report")
        if self._in_epoch and not self._closed:
            self._check_configured()

    def _check_configured(self) -> None:
        """Refuse an epoch in which the trial's configuration can have had no effect."""
        if self._record is None or self._record.diverged:
            return
        loop, run, optimizer = self._loop, self._run, self._optimizer
        steps = None if optimizer is None else self._step
        check_effect(run, self._epoch, steps, self._config_read)
        if optimizer is not None and self._step:
            own_schedule.check_length(loop, run, self._schedule, self._epoch, self._step)
            own_schedule.check_kept(loop, run, optimizer, self._scheduler, self._objects)

    def _unreported(self) -> bool:
        return self._record is None and not self._resumed

    def _park(self) -> None:
        self._back.release()
        self._go.acquire()
        if self._abandoned:
            raise SystemExit

    # The trainer's side.

    def resume(self, seconds: float | None = None) -> bool:
        """Let the function run up to the end of its epoch, and raise what it raises.

        Args:
            seconds: how long it may take; ``None`` for as long as it takes.

        Returns:
            Whether it got there in time; otherwise it is abandoned.
        """
        self._go.release()
        there = False
        try:
            there = self._back.acquire(timeout=seconds)
        finally:
            if not there:
                self.abandon()
        if not there:
            return False
        error, self._error = self._error, None
        if error is not None:
            raise_explained(error)
        return True

    def close(self) -> None:
        """End the loop, and wait until the function has returned."""
        if not self._finished and not self._abandoned:
            self._closed = True
            self.resume()

    def abandon(self) -> None:
        """End the function's thread wherever it is, without waiting."""
        self._abandoned = True
        self._go.release()
        if self._thread.ident is not None and not self._finished:
            exception = ctypes.py_object(SystemExit)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident), exception
            )
