"""What a study will cost on the devices that there are: a few steps timed, and the rest counted.

Every worker that there would be times the same steps at the same time, in a process of its own, so
that what they take from each other is in the figures.
"""

from __future__ import annotations

import heapq
import itertools
import math
import multiprocessing
import signal
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from threading import BrokenBarrierError
from typing import TYPE_CHECKING, Any

from indian_tune.engines.runs import missing_data
from indian_tune.errors import DataError, EngineError
from indian_tune.imports import imports_allowed
from indian_tune.ledger import Phase
from indian_tune.problems.catalog import get_dataset_info, get_model_info
from indian_tune.study.parameters import divide
from indian_tune.study.plan import images, measured_images, typical, workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from indian_tune.problems import ModelBuilder, Problem, Split
    from indian_tune.study.plan import Work
    from indian_tune.study.spec import StudySpec
    from indian_tune.training import Run, Trainer

# How long the steps of one kind of run are timed at least, after a warm-up.
TIMED_SECONDS = 0.4
TIMED_EPOCHS = 2
# Values of the images that are trained on, and measured, while it is timed: enough to be timed
# well, and no more than a few seconds on one core.
CPU_VALUES = 1 << 17
GPU_STEPS = 200
GPU_IMAGES = 8192
LEAST_STEPS = 4
# Loading torch on a machine full of workers takes a while; a worker that failed ends the wait.
START_SECONDS = 300.0


@dataclass(frozen=True)
class Kind:
    """Runs that cost the same: what a step computes depends on nothing else.

    Attributes:
        family: of the optimizer.
        batch_size: images of a step.
        dropout: rate.
        config: of the optimizer, sorted pairs.
    """

    family: str
    batch_size: int
    dropout: float
    config: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Speed:
    """What one worker measured of one kind of run.

    Attributes:
        step_seconds: of a training step.
        image_seconds: of measuring an image.
        device_bytes: most memory that torch held on a GPU for one run and its data set; ``None``
            on a CPU.
        process_bytes: most memory that the worker's process has held so far; ``None`` where the
            system does not say.
    """

    step_seconds: float
    image_seconds: float
    device_bytes: int | None
    process_bytes: int | None


@dataclass(frozen=True)
class Cost:
    """What an arm costs in a phase.

    Attributes:
        work: what it does.
        epoch_seconds: an epoch of one run with its measurements, on one worker.
    """

    work: Work
    epoch_seconds: float

    @property
    def trial_seconds(self) -> float:
        """A trial, which one worker carries out."""
        return self.work.seeds * self.work.epochs * self.epoch_seconds

    @property
    def seconds(self) -> float:
        """All runs, one after the other."""
        return self.work.trials * self.trial_seconds


@dataclass(frozen=True)
class Estimate:
    """What a study costs, at most: pruned and diverged runs end early.

    Attributes:
        costs: per arm and phase, in the order of the workload.
        speeds: by arm, one per worker.
        slots: device of every worker.
        wall_seconds: from the first claim to the last finish, the workers' start left out.
        device_seconds: the time that devices are held: GPUs, or CPU cores of one thread.
    """

    costs: tuple[Cost, ...]
    speeds: Mapping[str, tuple[Speed, ...]]
    slots: tuple[str, ...]
    wall_seconds: float
    device_seconds: float


def kind_of(spec: StudySpec, arm: str) -> Kind:
    """Return the kind of an arm's runs, at a configuration that is typical of its space."""
    config, own = divide(typical(spec, arm))
    return Kind(
        family=spec.arm(arm).optimizer,
        batch_size=int(own.get("batch_size", spec.problem.batch_size)),
        dropout=own.get("dropout", spec.problem.dropout),
        config=tuple(sorted(config.items())),
    )


def estimate(
    spec: StudySpec,
    slots: Sequence[str],
    *,
    data_dir: Path | None = None,
    threads: int = 1,
    imports: tuple[str, ...] | None = None,
) -> Estimate:
    """Time a few training steps and measurements of every kind of run, and count on from there.

    Args:
        spec: of the study; its data set must be there.
        slots: the device of every worker there would be.
        data_dir: folder of the data sets; ``None`` for the default.
        threads: CPU threads of each worker.
        imports: folders in which own code is looked for; ``None`` if none may be imported.

    Raises:
        DataError: the data set is missing.
        EngineError: a worker could not measure.
    """
    missing = missing_data(spec, data_dir)
    if missing is not None:
        raise DataError(missing)
    kinds = {arm.name: kind_of(spec, arm.name) for arm in spec.arms}
    # Runs that differ in numbers alone take the same operations.
    alike = {_operations(kind): kind for kind in kinds.values()}
    found = _measure_together(spec, list(alike.values()), slots, data_dir, threads, imports)
    rows = {operations: tuple(speeds[n] for speeds in found) for n, operations in enumerate(alike)}
    speeds = {arm: rows[_operations(kind)] for arm, kind in kinds.items()}
    costs = tuple(
        Cost(work, _epoch_seconds(spec, work, kinds[work.arm], speeds[work.arm]))
        for work in workload(spec)
    )
    shared = {device: 1 if device == "cpu" else slots.count(device) for device in slots}
    # A trial is as likely to run on one worker as on another.
    sharing = statistics.fmean(1 / shared[device] for device in slots)
    return Estimate(
        costs=costs,
        speeds=speeds,
        slots=tuple(slots),
        wall_seconds=sum(wall_seconds(costs, phase, len(slots)) for phase in Phase),
        device_seconds=sum(cost.seconds for cost in costs)
        * (threads if set(slots) == {"cpu"} else sharing),
    )


def wall_seconds(costs: Sequence[Cost], phase: Phase, workers: int) -> float:
    """Return how long workers take for a phase, each claiming the next trial when it is free."""
    free = [0.0] * workers
    for cost in costs:
        if cost.work.phase is phase:
            for _ in range(cost.work.trials):
                heapq.heapreplace(free, free[0] + cost.trial_seconds)
    return max(free)


def count_bytes(spec: StudySpec, imports: tuple[str, ...] | None = None) -> tuple[int, int]:
    """Return what a run holds in memory, and what the data hold once for a worker.

    Of a run: weights, gradients, optimizer and activations, in the arm that needs most. Counted on
    blank inputs, so that a data set of the catalog need not be there. Loads torch.

    Args:
        spec: of the study.
        imports: folders in which own code is looked for; ``None`` if none may be imported.
    """
    with imports_allowed(imports):
        if spec.problem.factory is not None:
            from indian_tune.engines.runs import problem_of

            problem = problem_of(spec, None)
            inputs = problem.train.inputs
            shape, whole = tuple(inputs.shape[1:]), str(inputs.dtype) == "torch.int64"
            return _run_bytes(spec, problem.build_model, shape, whole=whole), _bytes(problem)
        shape = _image_shape(spec)
        data = sum(images(spec)) * (math.prod(shape) + 8)
        return _run_bytes(spec, _catalog_model(spec, shape), shape), data


def _image_shape(spec: StudySpec) -> tuple[int, ...]:
    assert spec.problem.dataset is not None
    assert spec.problem.model is not None
    size = get_model_info(spec.problem.model).size
    return get_dataset_info(spec.problem.dataset).channels, size, size


def _catalog_model(spec: StudySpec, shape: tuple[int, ...]) -> ModelBuilder:
    import functools

    from indian_tune.problems import build_model

    section = spec.problem
    assert section.model is not None
    return functools.partial(
        build_model,
        section.model,
        classes=section.classes,
        channels=shape[0],
        size=shape[1],
        width=section.width,
        init=section.init,
        init_std=section.init_std,
    )


def _run_bytes(
    spec: StudySpec, build_model: ModelBuilder, shape: tuple[int, ...], *, whole: bool = False
) -> int:
    from indian_tune.training.footprint import footprint

    return max(
        footprint(
            build_model,
            shape=shape,
            whole=whole,
            family=kind.family,
            config=dict(kind.config),
            batch_size=kind.batch_size,
            dropout=kind.dropout,
            precision=spec.problem.precision,
        ).total
        for kind in (kind_of(spec, arm.name) for arm in spec.arms)
    )


def _operations(kind: Kind) -> tuple[Any, ...]:
    """Return what decides which operations a step of a kind consists of."""
    used = tuple(name for name, value in kind.config if value != 0)
    return kind.family, kind.batch_size, kind.dropout > 0, used


def _epoch_seconds(spec: StudySpec, work: Work, kind: Kind, speeds: Sequence[Speed]) -> float:
    train, _, _ = images(spec)
    steps = -(-train // kind.batch_size)
    step = statistics.fmean(speed.step_seconds for speed in speeds)
    image = statistics.fmean(speed.image_seconds for speed in speeds)
    return steps * step + measured_images(spec) * image


def _measure_together(
    spec: StudySpec,
    kinds: Sequence[Kind],
    slots: Sequence[str],
    data_dir: Path | None,
    threads: int,
    imports: tuple[str, ...] | None,
) -> list[list[Speed]]:
    """Return what every worker measured of every kind."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(slots))
    with ProcessPoolExecutor(
        len(slots), mp_context=context, initializer=_meet_at, initargs=(barrier,)
    ) as pool:
        futures = [
            pool.submit(_measure, spec.canonical(), kinds, device, data_dir, threads, imports)
            for device in slots
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
) -> list[Speed]:
    """Measure every kind, in a worker's process."""
    import torch

    from indian_tune.engines.runs import problem_of
    from indian_tune.study.spec import parse_study
    from indian_tune.training import keep_freed_memory

    try:
        torch.set_num_threads(threads)
        keep_freed_memory()
        spec = parse_study(canonical, source="study")
        speeds = []
        with imports_allowed(imports):
            problem = problem_of(spec, data_dir)
            for kind in kinds:
                _barrier.wait(START_SECONDS)
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
    if on_gpu:
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    values = math.prod(problem.train.inputs.shape[1:])
    steps = max(LEAST_STEPS, GPU_STEPS if on_gpu else CPU_VALUES // (values * kind.batch_size))
    count = max(kind.batch_size, GPU_IMAGES if on_gpu else CPU_VALUES // values)
    stepping = _Timed(spec, _cut(problem, train=steps * kind.batch_size, test=1), kind, device)
    held = _device_bytes(device, problem, stepping.problem) if on_gpu else None
    measuring = _Timed(spec, _cut(problem, train=kind.batch_size, test=count), kind, device)
    for turn in itertools.count(1):
        stepping.advance()
        measuring.advance()
        if turn >= TIMED_EPOCHS and stepping.total >= TIMED_SECONDS:
            break
    scale = stepping.steps * measuring.images - measuring.steps * stepping.images
    step = (stepping.seconds * measuring.images - measuring.seconds * stepping.images) / scale
    image = (measuring.seconds * stepping.steps - stepping.seconds * measuring.steps) / scale
    return Speed(
        step_seconds=max(step, 0.0),
        image_seconds=max(image, 0.0),
        device_bytes=held,
        process_bytes=_process_bytes(),
    )


class _Timed:
    """A run whose epochs are timed, after one to warm up."""

    def __init__(self, spec: StudySpec, problem: Problem, kind: Kind, device: str) -> None:
        from indian_tune.engines.runs import trainer_of

        self.problem = problem
        self._trainer = trainer_of(spec, problem, device, None)
        self._trainer.add(_run(kind))
        self._found: list[float] = []
        train = len(problem.train)
        self.steps = -(-train // kind.batch_size)
        self.images = min(train, spec.protocol.train_eval_size or train) + len(problem.test)
        if problem.validation is not None:
            self.images += len(problem.validation)
        _advance(self._trainer)

    def advance(self) -> None:
        self._found.append(_advance(self._trainer))

    @property
    def seconds(self) -> float:
        """Median of an epoch."""
        return statistics.median(self._found)

    @property
    def total(self) -> float:
        """Seconds of all epochs but the first."""
        return sum(self._found)


def _advance(trainer: Trainer) -> float:
    (record,) = trainer.advance()
    if record.diverged:
        raise EngineError(
            "a run diverged at the smallest rate of its space while its steps were timed"
        )
    return record.seconds


def _run(kind: Kind) -> Run:
    from indian_tune.training import Run

    return Run(
        key="timed",
        seed=0,
        # Never reached: the last epoch of a run has more to measure.
        epochs=1_000_000,
        family=kind.family,
        config=dict(kind.config),
        batch_size=kind.batch_size,
        dropout=kind.dropout,
    )


def _cut(problem: Problem, *, train: int, test: int) -> Problem:
    """Return a problem with few images, as far as there are that many."""
    from indian_tune.problems import Split

    def first(split: Split, count: int) -> Split:
        return Split(split.inputs[:count], split.labels[:count])

    validation = problem.validation
    return replace(
        problem,
        train=first(problem.train, train),
        validation=None if validation is None else first(validation, 1),
        test=first(problem.test, test),
    )


def _device_bytes(device: str, problem: Problem, timed: Problem) -> int:
    """Return the most that torch held on a GPU, with the images that were not used added."""
    import torch

    return int(torch.cuda.max_memory_reserved(device)) + _bytes(problem) - _bytes(timed)


def _bytes(problem: Problem) -> int:
    splits = [problem.train, problem.test]
    if problem.validation is not None:
        splits.append(problem.validation)
    return sum(split.inputs.nbytes + split.labels.nbytes for split in splits)


def _process_bytes() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
