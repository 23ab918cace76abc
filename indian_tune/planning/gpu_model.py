"""How long packed runs would take on a GPU that is not at hand: a model of time, no measurement.

A step is counted (kernels, bytes, products), and the counts are divided by what NVIDIA publishes of
a GPU, less what such small networks leave of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError, unknown_name
from indian_tune.planning.memory import blank_problem, count_bytes
from indian_tune.planning.timing import kind_of, run_of
from indian_tune.planning.workload import workload
from indian_tune.problems import Loop
from indian_tune.study.examples import example_counts
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.study import StudySpec
    from indian_tune.training import PackShape, Run
    from indian_tune.training.counting import Counts, PackCounter

HOUR = 3600.0
KERNEL_SECONDS = 2e-6
"""Of a kernel in a captured graph, beside what it computes. Not published: an assumption."""
EAGER_SECONDS = 8e-6
"""Between two kernels that a Python program starts one by one. Likewise."""
BANDWIDTH_SHARE = 0.7
"""Of the published bandwidth, what simple kernels reach."""
PRODUCTS_SHARE: Mapping[str, float] = {
    "float32": 0.5,
    "tf32": 0.15,
    "bfloat16": 0.15,
    "float64": 0.15,
}
"""Of the published rate, what products of these sizes reach: tensor cores are hard to feed."""
# Lanes that are counted.
FEW, MANY = 2, 4


@dataclass(frozen=True)
class Gpu:
    """What its maker publishes of a GPU.

    Attributes:
        name: as given to ``--assume-gpu``.
        memory_bytes: of the device.
        bytes_per_second: of that memory.
        flops_per_second: of dense products, by precision.
        source: where the figures are from.
    """

    name: str
    memory_bytes: float
    bytes_per_second: float
    flops_per_second: Mapping[str, float]
    source: str

    def seconds(self, counts: Counts, precision: str) -> float:
        """Return how long captured operations take.

        Args:
            counts: of them.
            precision: a key of ``flops_per_second``.
        """
        return counts.launches * KERNEL_SECONDS + self._moving(counts, precision)

    def eager_seconds(self, counts: Counts, precision: str) -> float:
        """Return how long the same operations take if a program starts them one by one."""
        return max(counts.launches * EAGER_SECONDS, self._moving(counts, precision))

    def _moving(self, counts: Counts, precision: str) -> float:
        rate = PRODUCTS_SHARE[precision] * self.flops_per_second[precision]
        return counts.bytes / (BANDWIDTH_SHARE * self.bytes_per_second) + counts.flops / rate


_HOPPER = {"float32": 67e12, "tf32": 494.5e12, "bfloat16": 989.5e12, "float64": 67e12}
_AMPERE = {"float32": 19.5e12, "tf32": 156e12, "bfloat16": 312e12, "float64": 19.5e12}
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("A100", 80e9, 2.039e12, _AMPERE, "NVIDIA A100 data sheet, 80 GB SXM"),
        Gpu("H100", 80e9, 3.35e12, _HOPPER, "NVIDIA H100 data sheet, SXM"),
        Gpu("H200", 141e9, 4.8e12, _HOPPER, "NVIDIA H200 data sheet, SXM"),
    )
}


@dataclass(frozen=True)
class ArmEstimate:
    """What the runs of an arm would take.

    Attributes:
        arm: its name.
        step_seconds: of a training step of a full pack; ``None`` if its runs cannot be packed.
        epoch_seconds: of an epoch of a full pack with its measurements; likewise.
        epochs_per_hour: of all lanes together; likewise.
        fault: why its runs cannot be packed; ``None`` if they can.
    """

    arm: str
    step_seconds: float | None
    epoch_seconds: float | None
    epochs_per_hour: float | None
    fault: str | None


@dataclass(frozen=True)
class GpuEstimate:
    """What a study would take on a GPU that is not at hand.

    Attributes:
        gpu: which.
        precision: of products, a key of the GPU's rates.
        lanes: runs that would be packed.
        convolutions: how they would be computed.
        arms: in the order of the study.
        seconds: all runs of the arms that can be packed, on one GPU.
    """

    gpu: Gpu
    precision: str
    lanes: int
    convolutions: str
    arms: tuple[ArmEstimate, ...]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "measured": False,
            "gpu": self.gpu.name,
            "source": self.gpu.source,
            "precision": self.precision,
            "lanes": self.lanes,
            "convolutions": self.convolutions,
            "seconds_on_one": self.seconds,
            "arms": [asdict(arm) for arm in self.arms],
        }


def get_gpu(name: str) -> Gpu:
    """Return the figures of a GPU.

    Raises:
        InputError: there are none.
    """
    if name not in GPUS:
        raise InputError(unknown_name("--assume-gpu", name, GPUS))
    return GPUS[name]


def estimate_on(spec: StudySpec, gpu: Gpu, imports: tuple[str, ...] | None = None) -> GpuEstimate:
    """Return what a study would take on a GPU. Loads torch.

    The number of lanes is chosen by the rule of a search, with times of the model in place of
    measured ones.

    Args:
        spec: of the study; a data set of the catalog need not be there.
        gpu: which.
        imports: folders in which own code is looked for; ``None`` if none may be imported.

    Raises:
        InputError: the steps of the study cannot be counted, or no run fits into the memory.
    """
    from indian_tune.imports import imports_allowed
    from indian_tune.training import Precision
    from indian_tune.training.counting import PackCounter
    from indian_tune.training.pack_evaluation import MOST_INPUTS
    from indian_tune.training.probe import choose
    from indian_tune.training.stacked_forward import CONVOLUTIONS

    section = spec.problem
    kinds = {arm.name: kind_of(spec, arm.name) for arm in spec.arms}
    largest = max(kind.batch_size for kind in kinds.values())
    with imports_allowed(imports):
        problem = blank_problem(spec, max(MOST_INPUTS, largest))
        if isinstance(problem, Loop) or problem.train.streamed:
            what = "in a loop of its own" if isinstance(problem, Loop) else "on a stream"
            raise InputError(
                f"--assume-gpu {gpu.name}: the study trains {what}, whose steps cannot be counted: "
                "leave the option out"
            )
        counter = PackCounter(
            problem,
            Precision(section.precision, section.tf32),
            augmented=section.augmentation != "none",
        )
        runs = {arm: run_of(kind, arm) for arm, kind in kinds.items()}
        faults = {arm: counter.fault(run, CONVOLUTIONS[0]) for arm, run in runs.items()}
        packed = {arm: run for arm, run in runs.items() if faults[arm] is None}
        if not packed:
            raise InputError(f"--assume-gpu {gpu.name}: {next(filter(None, faults.values()))}")
        model = _Model(spec, gpu, counter, packed)
        run_bytes, data_bytes = count_bytes(spec, imports)

    def mean_seconds(shape: PackShape) -> float:
        if shape.lanes * run_bytes * model.kinds + data_bytes > gpu.memory_bytes:
            needed = counted(shape.lanes, "lane")
            raise RuntimeError(f"{needed} of every kind of run do not fit into its memory")
        times = [model.step_seconds(arm, shape) for arm in packed]
        return sum(times) / len(times)

    try:
        shape = choose(mean_seconds, CONVOLUTIONS)
    except RuntimeError as error:
        raise InputError(f"--assume-gpu {gpu.name}: {error}") from error
    arms = tuple(_of_arm(model, arm, fault, shape) for arm, fault in faults.items())
    epochs = {each.arm: each.epoch_seconds or 0.0 for each in arms}
    # A pack that is not full takes as long.
    seconds = sum(
        -(-each.runs // shape.lanes) * each.epochs * epochs[each.arm] for each in workload(spec)
    )
    return GpuEstimate(
        gpu,
        model.precision,
        shape.lanes,
        shape.convolutions,
        arms,
        seconds,
    )


def _of_arm(model: _Model, arm: str, fault: str | None, shape: PackShape) -> ArmEstimate:
    if fault is not None:
        return ArmEstimate(arm, None, None, None, fault)
    seconds = model.epoch_seconds(arm, shape)
    hourly = shape.lanes * HOUR / seconds
    return ArmEstimate(arm, model.step_seconds(arm, shape), seconds, hourly, None)


class _Model:
    """Times of the packs of a study.

    What lanes share is there once and the rest is alike in every lane, so the counts of any number
    of lanes lie on the line through those of two numbers.
    """

    def __init__(
        self, spec: StudySpec, gpu: Gpu, counter: PackCounter, runs: Mapping[str, Run]
    ) -> None:
        section = spec.problem
        tf32 = section.tf32 and section.precision == "float32"
        self.precision = "tf32" if tf32 else section.precision
        self._gpu = gpu
        self._counter = counter
        self._runs = runs
        train, validation, test = example_counts(spec)
        self._train = train
        self._measured = (min(train, spec.protocol.train_eval_size or train), validation, test)
        self._kinds = {arm: counter.kind(run) for arm, run in runs.items()}
        self._counts: dict[object, Counts] = {}

    @property
    def kinds(self) -> int:
        """Packs that are in memory at once."""
        return len(set(self._kinds.values()))

    def step_seconds(self, arm: str, shape: PackShape) -> float:
        """Return the time of a training step of a full pack."""
        few, many = (self._step(arm, lanes, shape.convolutions) for lanes in (FEW, MANY))
        share = (shape.lanes - FEW) / (MANY - FEW)
        return self._gpu.seconds(few.plus(many.plus(few, -1), share), self.precision)

    def epoch_seconds(self, arm: str, shape: PackShape) -> float:
        """Return the time of an epoch of a full pack, with its measurements."""
        from indian_tune.training.pack_evaluation import batch_size

        batch, size = self._counter.evaluation(self._runs[arm], MANY, shape.convolutions)
        seconds = -(-self._train // self._runs[arm].batch_size) * self.step_seconds(arm, shape)
        for count in filter(None, self._measured):
            batches = -(-count // batch_size(count, shape.lanes))
            share = count * shape.lanes / (size * MANY)
            seconds += self._gpu.seconds(batch.times(batches, share), self.precision)
        return seconds

    def _step(self, arm: str, lanes: int, convolutions: str) -> Counts:
        key = self._kinds[arm], lanes, convolutions
        if key not in self._counts:
            self._counts[key] = self._counter.step(self._runs[arm], lanes, convolutions)
        return self._counts[key]
