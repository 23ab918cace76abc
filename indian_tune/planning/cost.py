"""Cost of a study on the available devices: a few steps are timed, the rest is counted."""

from __future__ import annotations

import heapq
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indian_tune.engines.runs import missing_data
from indian_tune.errors import DataError
from indian_tune.ledger import Phase
from indian_tune.planning.timing import Kind, Speed, kind_of, measure_together
from indian_tune.planning.workload import workload
from indian_tune.study.examples import example_counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from indian_tune.planning.workload import Work
    from indian_tune.study import StudySpec


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
        wall_seconds: from the first claim to the last finish, the workers' start left out.
        device_seconds: the time that devices are held: GPUs, or CPU cores of one thread.
    """

    costs: tuple[Cost, ...]
    speeds: Mapping[str, tuple[Speed, ...]]
    wall_seconds: float
    device_seconds: float


def estimate(
    spec: StudySpec,
    devices: Sequence[str],
    *,
    data_dir: Path | None = None,
    threads: int = 1,
    imports: tuple[str, ...] | None = None,
    in_hand: bytes | None = None,
) -> Estimate:
    """Time a few training steps and measurements of every kind of run, and count on from there.

    Args:
        spec: of the study; its data set must be there.
        devices: the device of every worker there would be.
        data_dir: folder of the data sets; ``None`` for the default.
        threads: CPU threads of each worker.
        imports: folders in which own code is looked for; ``None`` if none may be imported.
        in_hand: what the caller has in hand, see ``WorkerSettings``.

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
    found = measure_together(
        spec, list(alike.values()), devices, data_dir, threads, imports, in_hand
    )
    rows = {operations: tuple(speeds[n] for speeds in found) for n, operations in enumerate(alike)}
    speeds = {arm: rows[_operations(kind)] for arm, kind in kinds.items()}
    costs = tuple(
        Cost(work, _epoch_seconds(spec, work, kinds[work.arm], speeds[work.arm]))
        for work in workload(spec)
    )
    shared = {device: 1 if device == "cpu" else devices.count(device) for device in devices}
    # A trial is as likely to run on one worker as on another.
    sharing = statistics.fmean(1 / shared[device] for device in devices)
    return Estimate(
        costs=costs,
        speeds=speeds,
        wall_seconds=sum(wall_seconds(costs, phase, len(devices)) for phase in Phase),
        device_seconds=sum(cost.seconds for cost in costs)
        * (threads if set(devices) == {"cpu"} else sharing),
    )


def wall_seconds(costs: Sequence[Cost], phase: Phase, workers: int) -> float:
    """Return how long workers take for a phase, each claiming the next trial when it is free."""
    free = [0.0] * workers
    for cost in costs:
        if cost.work.phase is phase:
            for _ in range(cost.work.trials):
                heapq.heapreplace(free, free[0] + cost.trial_seconds)
    return max(free)


def _operations(kind: Kind) -> tuple[Any, ...]:
    """Return what decides which operations a step of a kind consists of."""
    used = tuple(name for name, value in kind.config if value != 0)
    more = (kind.dropout > 0, kind.clip_norm > 0, kind.ema_decay > 0)
    return kind.family, kind.batch_size, *more, used


def _epoch_seconds(spec: StudySpec, work: Work, kind: Kind, speeds: Sequence[Speed]) -> float:
    epochs = [speed.epoch_seconds for speed in speeds if speed.epoch_seconds is not None]
    if epochs:
        return statistics.fmean(epochs)
    train, validation, test = example_counts(spec)
    # What an epoch ends with measuring.
    measured = min(train, spec.protocol.train_eval_size or train) + validation + test
    steps = -(-train // kind.batch_size)
    step = statistics.fmean(speed.step_seconds for speed in speeds)
    image = statistics.fmean(speed.image_seconds for speed in speeds)
    return steps * step + measured * image
