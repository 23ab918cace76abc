"""Measures the speed of workers: a few steps of every kind of run, on the available devices.

Every worker that there would be times the same steps at the same time, in a process of its own, so
that what they take from each other is in the figures.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import pickle
import signal
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from threading import BrokenBarrierError
from typing import TYPE_CHECKING, Any

from indian_tune.engines import check_not_daemonic, confine, without_main
from indian_tune.errors import EngineError
from indian_tune.imports import imports_allowed, in_hand
from indian_tune.problems import Loop
from indian_tune.study.file.parameters import split_training_parameters, training_values
from indian_tune.study.typical import typical

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from indian_tune.optim.hyperparameters import Value
    from indian_tune.problems import Problem, Split
    from indian_tune.study import StudySpec
    from indian_tune.training import LoopTrainer, PackShape, Run, Trainer

# How long the steps of one kind of run are timed at least, after a warm-up.
TIMED_SECONDS = 0.4
TIMED_EPOCHS = 2
# Values of the images that are trained on, and measured, while it is timed: enough to be timed
# well, and no more than a few seconds on one core.
CPU_VALUES = 1 << 17
GPU_STEPS = 200
GPU_IMAGES = 8192
LEAST_STEPS = 4
# What the epochs of a loop of one's own may take, which cannot be cut.
LOOP_SECONDS = 60.0
# Loading torch on a machine full of workers takes a while; a worker that failed ends the wait.
START_SECONDS = 300.0


@dataclass(frozen=True)
class Kind:
    """Runs that cost the same: what a step computes depends on nothing else.

    Attributes:
        family: of the optimizer.
        batch_size: images of a step.
        dropout: rate.
        clip_norm: largest norm of gradients; 0 for none.
        ema_decay: of the average of the weights; 0 for none.
        config: of the optimizer, sorted pairs.
    """

    family: str
    batch_size: int
    dropout: float
    clip_norm: float
    ema_decay: float
    config: tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Speed:
    """What one worker measured of one kind of run.

    Attributes:
        step_seconds: of a training step of a run: its share where several are packed.
        image_seconds: of measuring an image.
        device_bytes: most memory that torch held on a GPU for the runs that are trained side by
            side and their data set; ``None`` on a CPU.
        process_bytes: most memory that the worker's process has held so far; ``None`` where the
            system does not say.
        epoch_seconds: of an epoch of a loop of one's own, of which steps and images are not known;
            infinite if it took longer than ``LOOP_SECONDS``; ``None`` for any other problem.
        over_float32: time of training steps, as a multiple of what the same ones took in float32 in
            turn; ``None`` unless the study trains in bfloat16 on a CPU.
    """

    step_seconds: float
    image_seconds: float
    device_bytes: int | None
    process_bytes: int | None
    epoch_seconds: float | None = None
    over_float32: float | None = None


def kind_of(spec: StudySpec, arm: str) -> Kind:
    """Return the kind of an arm's runs, at a configuration that is typical of its space."""
    config, own = split_training_parameters(typical(spec, arm))
    return Kind(
        family=spec.arm(arm).trained_with,
        **training_values(own, spec.problem),
        config=tuple(sorted(config.items())),
    )


def measure_together(
    spec: StudySpec,
    kinds: Sequence[Kind],
    devices: Sequence[str],
    data_dir: Path | None,
    threads: int,
    imports: tuple[str, ...] | None,
    in_hand: bytes | None,
) -> list[list[Speed]]:
    """Return what every worker measured of every kind.

    Args:
        spec: of the study; its data set must be there.
        kinds: of runs.
        devices: device of every worker.
        data_dir: folder of the data sets; ``None`` for the default.
        threads: CPU threads of each worker.
        imports: folders in which own code is looked for; ``None`` if none may be imported.
        in_hand: what the caller has in hand, see ``WorkerSettings``.

    Returns:
        Per worker, a speed per kind.

    Raises:
        EngineError: a worker could not measure.
        InputError: this process cannot start others.
    """
    check_not_daemonic("use --no-timing")
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(devices))
    with ProcessPoolExecutor(
        len(devices), mp_context=context, initializer=_meet_at, initargs=(barrier,)
    ) as pool:
        told = (data_dir, threads, imports, in_hand)
        with without_main():
            futures = [
                pool.submit(_measure, spec.canonical(), kinds, device, *told) for device in devices
            ]
        for future in as_completed(futures):
            # The one that failed tells why; the others only waited for it.
            error = future.exception()
            if error is not None and not isinstance(error, BrokenBarrierError):
                barrier.abort()
                raise EngineError(f"the steps could not be timed: {error}") from error
        return [future.result() for future in futures]


_barrier: Any = None


def _meet_at(barrier: Any) -> None:
    # Ctrl-C reaches the whole group: only the parent answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _barrier
    _barrier = barrier


def _measure(
    canonical: dict[str, Any],
    kinds: Sequence[Kind],
    device: str,
    data_dir: Path | None,
    threads: int,
    imports: tuple[str, ...] | None,
    packed: bytes | None,
) -> list[Speed]:
    """Measure every kind, in a worker's process."""
    from indian_tune.engines.runs import problem_of
    from indian_tune.study import parse_study
    from indian_tune.training import start_torch

    try:
        # As a worker does: a process sees one slice of a GPU at most. Nobody returns before all
        # have met at the barrier, so that no process gets a second device.
        device = confine(device)
        start_torch(threads)
        spec = parse_study(canonical, source="study")
        speeds = []
        # Written by the process that has started this one.
        objects = {} if packed is None else pickle.loads(packed)  # noqa: S301
        with imports_allowed(imports), in_hand(objects):
            problem = problem_of(spec, data_dir)
            for kind in kinds:
                _barrier.wait(START_SECONDS)
                if isinstance(problem, Loop):
                    speeds.append(_loop_speed(spec, problem, kind, device))
                else:
                    speeds.append(_speed(spec, problem, kind, device))
        return speeds
    except BaseException:
        _barrier.abort()
        raise


def _speed(spec: StudySpec, problem: Problem, kind: Kind, device: str) -> Speed:
    """Solve for the seconds of a step and of an image, from epochs of two sorts.

    One has many steps and the other many images to measure. They take turns, so that a load that
    comes and goes meets both.
    """
    on_gpu = device != "cpu"
    values = problem.train.first(1).inputs.numel()
    steps = max(LEAST_STEPS, GPU_STEPS if on_gpu else CPU_VALUES // (values * kind.batch_size))
    count = max(kind.batch_size, GPU_IMAGES if on_gpu else CPU_VALUES // values)
    stepping = _Timed(spec, _cut(problem, train=steps * kind.batch_size, test=1), kind, device)
    if on_gpu:
        # Only now is CUDA in use for certain; what choosing a shape of packs has held is let go.
        _forget_peak(device)
    stepping.warm_up()
    held = _device_bytes(device, problem, stepping.problem) if on_gpu else None
    measuring = _Timed(
        spec, _cut(problem, train=kind.batch_size, test=count), kind, device, stepping.shape
    )
    measuring.warm_up()
    rival = None
    if spec.problem.precision == "bfloat16" and not on_gpu:
        # Not every processor multiplies in bfloat16.
        section = spec.problem.model_copy(update={"precision": "float32"})
        other = spec.model_copy(update={"problem": section})
        rival = _Timed(other, stepping.problem, kind, device)
        rival.warm_up()
    for turn in itertools.count(1):
        stepping.advance()
        measuring.advance()
        if rival is not None:
            rival.advance()
        if turn >= TIMED_EPOCHS and stepping.total >= TIMED_SECONDS:
            break
    scale = stepping.steps * measuring.images - measuring.steps * stepping.images
    step = (stepping.seconds * measuring.images - measuring.seconds * stepping.images) / scale
    image = (measuring.seconds * stepping.steps - stepping.seconds * measuring.steps) / scale
    if step <= 0:
        # A load met one sort of epochs alone. This is too much, but no plan may cost nothing.
        step = stepping.seconds / stepping.steps
    return Speed(
        step_seconds=step,
        image_seconds=max(image, 0.0),
        device_bytes=held,
        process_bytes=_process_bytes(),
        over_float32=None if rival is None else stepping.seconds / rival.seconds,
    )


class _TooLong(BaseException):
    """An epoch of a loop has taken its time; no Exception, which the loop might answer."""


def _loop_speed(spec: StudySpec, loop: Loop, kind: Kind, device: str) -> Speed:
    """Time an epoch of a loop of one's own: the second one, unless the first takes long."""
    from indian_tune.engines.runs import trainer_of

    def stop(_signal: int, _frame: object) -> None:
        raise _TooLong

    seconds = math.inf
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LOOP_SECONDS)
    began = time.monotonic()
    try:
        trainer = trainer_of(spec, loop, device, None)
        trainer.add(replace(run_of(kind, "timed"), epochs=spec.protocol.tuning_epochs))
        (record,) = trainer.advance()
        seconds = record.seconds
        # The first one warms up.
        if trainer.active and time.monotonic() - began < LOOP_SECONDS / 4:
            (record,) = trainer.advance()
            seconds = record.seconds
    except _TooLong:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    return Speed(0.0, 0.0, None, _process_bytes(), epoch_seconds=seconds)


class _Timed:
    """Runs whose epochs are timed: as many as a search trains side by side.

    Times are those of one run: a search has packs full of them.
    """

    def __init__(
        self,
        spec: StudySpec,
        problem: Problem,
        kind: Kind,
        device: str,
        shape: PackShape | None = None,
    ) -> None:
        from indian_tune.engines.runs import trainer_of
        from indian_tune.training import Packing

        self.problem = problem
        # A search, too, finds out which shape of packs is fastest.
        packing = Packing(None) if shape is None else Packing(shape.lanes, shape.convolutions)
        self._trainer = trainer_of(spec, problem, device, None, packing)
        self.shape = self._trainer.pack_shape
        self._lanes = 1 if self.shape is None else self.shape.lanes
        for number in range(self._lanes):
            self._trainer.add(run_of(kind, f"timed {number}"))
        self._found: list[float] = []
        train = len(problem.train)
        self.steps = -(-train // kind.batch_size)
        self.images = min(train, spec.protocol.train_eval_size or train) + len(problem.test)
        if problem.validation is not None:
            self.images += len(problem.validation)

    def warm_up(self) -> None:
        """Train an epoch that is not timed."""
        _advance(self._trainer)

    def advance(self) -> None:
        self._found.append(_advance(self._trainer))

    @property
    def seconds(self) -> float:
        """Median of an epoch."""
        return statistics.median(self._found)

    @property
    def total(self) -> float:
        """Seconds of all epochs but the first, of all runs."""
        return sum(self._found) * self._lanes


def _advance(trainer: Trainer | LoopTrainer) -> float:
    """Return the seconds of an epoch of a run."""
    records = trainer.advance()
    for record in records:
        if record.diverged:
            raise EngineError(
                "a run diverged at the smallest rate of its space during the timing: "
                f"{record.not_finite or 'loss'} was not finite"
            )
    return statistics.fmean(record.seconds for record in records)


def run_of(kind: Kind, key: str) -> Run:
    """Return a run of a kind, that never reaches its end."""
    from indian_tune.training import Run

    return Run(
        key=key,
        seed=0,
        # Never reached: the last epoch of a run has more to measure.
        epochs=1_000_000,
        family=kind.family,
        config=dict(kind.config),
        batch_size=kind.batch_size,
        dropout=kind.dropout,
        clip_norm=kind.clip_norm,
        ema_decay=kind.ema_decay,
    )


def _cut(problem: Problem, *, train: int, test: int) -> Problem:
    """Return a problem with few images, as far as there are that many."""
    validation = problem.validation
    return replace(
        problem,
        train=_few(problem.train, train),
        validation=None if validation is None else _few(validation, 1),
        test=_few(problem.test, test),
    )


def _few(split: Split, count: int) -> Split:
    """Return the first examples; those of a stream unread, as reading them is part of a step."""
    import torch

    return split.at(torch.arange(min(count, len(split))))


def _forget_peak(device: str) -> None:
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)


def _device_bytes(device: str, problem: Problem, timed: Problem) -> int:
    """Return the most that torch held on a GPU, with the images that were not used added."""
    import torch

    return int(torch.cuda.max_memory_reserved(device)) + problem.nbytes - timed.nbytes


def _process_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
