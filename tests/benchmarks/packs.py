"""Images per second of packs of K runs on a GPU, against one run in an eager loop.

Claims, for ``nin`` on 32×32 images and batches of 32 on a GPU of the H200 class: one run in
captured steps takes in at least 2 times as many images per second as one run in the eager loop, and
the best pack at least 8 times as many in all.

Every cell trains K runs of INDIAN by the trainer itself, an epoch to warm up and capture, then
epochs by the clock; one image is measured after each, so that evaluation does not count. The eager
loops in float32 and in the cell's own precision are timed again beside every cell, and ratios are
taken with those times. Memory is the most that torch had allocated on the GPU. Before, the tests
marked ``gpu`` are run, and the bits of a run are compared in other lanes and beside others; at the
end the share of evaluation in an epoch is measured.

    python -m tests.benchmarks.packs --out tests/benchmarks/results

takes 8 minutes at most: cells that would not end by then are said to be left out. The files are
written again after every cell, so that a command that is killed leaves what it has measured. It
needs torch and numpy alone; the tests marked ``gpu`` need all that tests need. Without a GPU,
``--estimate`` tells what the counts of kernels, bytes and products come to on one.

``--device cpu --model nin-small --lanes 1 2 --batches 2`` tries the script out where there is no
GPU; its figures then say nothing about one.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import indian_tune
from indian_tune.problems.models import build_model
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import Packing, Precision, Run, Trainer, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
# Of a step, by the tests of the stand-in device.
COUNTS = ROOT / "tests" / "training" / "launches.json"
LEFT_OUT = "left out for want of time"
# What comes after the cells takes some seconds.
RESERVE = 45.0
# Of the time of all that the tests may take; most of it is compiling kernels.
TESTS_SHARE = 0.4
BATCH_SIZE = 32
LANES = (1, 2, 4, 8, 16, 32)
CONVOLUTIONS = ("grouped", "matmul")
PRECISIONS = {
    "float32": Precision("float32"),
    "tf32": Precision("float32", tf32=True),
    "bfloat16": Precision("bfloat16"),
}
SHAPES = {"nin": (3, 32, 100), "nin-small": (1, 8, 10)}


def make_problem(model: str, batches: int, tested: int = 1) -> Problem:
    """Noise of the shape that the model is made for, measured on some images of it."""
    channels, size, classes = SHAPES[model]
    count = batches * BATCH_SIZE
    source = torch.Generator().manual_seed(0)
    shape = (count, channels, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=source)
    train = Split(images, torch.randint(0, classes, (count,), generator=source))
    return Problem(
        dataset="noise",
        model=model,
        classes=classes,
        train=train,
        validation=None,
        test=Split(train.inputs[:tested], train.labels[:tested]),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        scale=255.0,
        build_model=partial(build_model, model, classes=classes, channels=channels, size=size),
    )


def make_trainer(problem: Problem, device: str, runs: int, **arguments: Any) -> Trainer:
    trainer = Trainer(problem, device=device, train_eval_size=1, **arguments)
    for seed in range(runs):
        trainer.add(run_of(seed))
    return trainer


def run_of(seed: int, epochs: int = 10**9) -> Run:
    return Run(
        key=f"{seed}",
        seed=seed,
        epochs=epochs,
        family="indian",
        config={"gamma0": 1e-3, "alpha": 0.5, "beta": 0.1},
        batch_size=BATCH_SIZE,
        dropout=0.5,
    )


def seconds_of_an_epoch(trainer: Trainer, device: str) -> float:
    _wait(device)
    began = time.perf_counter()
    records = trainer.advance()
    _wait(device)
    assert not any(record.diverged for record in records)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


class Deadline:
    """When all must have ended, and how long what was measured took.

    Args:
        at: in seconds of ``time.monotonic``.
    """

    def __init__(self, at: float) -> None:
        self.at = at
        self._longest = 0.0

    @property
    def allows_another(self) -> bool:
        """Whether another part ends in time, if it takes no longer than the longest so far."""
        return time.monotonic() + self._longest < self.at

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note how long a part takes."""
        began = time.monotonic()
        yield
        self._longest = max(self._longest, time.monotonic() - began)


def measure_cell(
    problem: Problem,
    device: str,
    eager: dict[str, Trainer],
    packing: Packing,
    precision: Precision,
    rounds: int,
) -> dict[str, float] | None:
    """Return a cell of the table; ``None`` if it does not fit into the memory."""
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    images, lanes = len(problem.train), packing.lanes or 1
    try:
        pack = make_trainer(problem, device, lanes, packing=packing, precision=precision)
        seconds_of_an_epoch(pack, device)
        rates: list[float] = []
        ratios: dict[str, list[float]] = {name: [] for name in eager}
        for _ in range(rounds):
            rates.append(lanes * images / seconds_of_an_epoch(pack, device))
            for name, loop in eager.items():
                ratios[name].append(rates[-1] * seconds_of_an_epoch(loop, device) / images)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    return {
        "images_per_second": statistics.median(rates),
        "over_eager_loop": statistics.median(ratios["float32"]),
        "least_over_eager_loop": min(ratios["float32"]),
        "over_its_own_eager_loop": statistics.median(ratios["own"]),
        "memory_mib": 0.0 if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20,
    }


def eager_loop(problem: Problem, device: str, precision: Precision) -> Trainer:
    """One run in the eager loop, warmed up."""
    loop = make_trainer(problem, device, 1, packing=Packing(execution="loop"), precision=precision)
    seconds_of_an_epoch(loop, device)
    return loop


def precisions(device: str) -> list[str]:
    """Return those that the device has; what the goals are about comes first."""
    return [name for name in ("bfloat16", "tf32", "float32") if name != "tf32" or device != "cpu"]


def blank_rows(device: str, lanes: list[int]) -> list[dict[str, Any]]:
    """Return the table before anything is measured."""
    return [
        {"precision": name, "convolutions": way, "runs": count, "cell": LEFT_OUT}
        for name, count, way in product(precisions(device), lanes, CONVOLUTIONS)
    ]


def measure(
    problem: Problem,
    device: str,
    rows: list[dict[str, Any]],
    rounds: int,
    deadline: Deadline,
    keep: Callable[[], None],
) -> None:
    """Fill the table in, cell by cell, each of which is kept at once, while the time suffices."""
    loops: dict[str, Trainer] = {}
    for row in rows:
        if not deadline.allows_another:
            return
        with deadline.timed():
            name = row["precision"]
            loops = {
                each: loops.get(each) or eager_loop(problem, device, PRECISIONS[each])
                for each in ("float32", name)
            }
            packing = Packing(row["runs"], row["convolutions"], execution="stacked")
            eager = {"float32": loops["float32"], "own": loops[name]}
            row["cell"] = measure_cell(problem, device, eager, packing, PRECISIONS[name], rounds)
        keep()


def bits_by_lane(problem: Problem, device: str, deadline: Deadline) -> dict[str, bool | str]:
    """Return whether the metrics of runs are equal to the bit in other lanes and alone."""

    def records(order: list[int], packing: Packing, precision: Precision) -> dict[str, Any]:
        trainer = Trainer(problem, device=device, packing=packing, precision=precision)
        for seed in order:
            trainer.add(run_of(seed, epochs=1))
        return {record.key: record.metrics for record in trainer.advance()}

    found: dict[str, bool | str] = {}
    for name, way in product(precisions(device), CONVOLUTIONS):
        if not deadline.allows_another:
            found[f"{name}, {way}"] = LEFT_OUT
            continue
        packing, precision = Packing(4, way, execution="stacked"), PRECISIONS[name]
        with deadline.timed():
            together = records([0, 1, 2, 3], packing, precision)
            turned = records([3, 2, 1, 0], packing, precision)
            alone = records([0], packing, precision)
        found[f"{name}, {way}"] = turned == together and alone["0"] == together["0"]
    return found


def evaluation_share(model: str, batches: int, device: str, lanes: int) -> float:
    """Return which share of an epoch evaluation takes that measures each training image once."""
    seconds = []
    for tested in (1, batches * BATCH_SIZE):
        problem = make_problem(model, batches, tested)
        packing = Packing(lanes, CONVOLUTIONS[0], execution="stacked")
        trainer = make_trainer(problem, device, lanes, packing=packing)
        seconds_of_an_epoch(trainer, device)
        seconds.append(min(seconds_of_an_epoch(trainer, device) for _ in range(3)))
    return 1 - seconds[0] / seconds[1]


def gpu_tests() -> list[str]:
    """Return the files that have tests marked ``gpu``: to collect all others takes minutes."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = re.compile(r"\bpytest\.mark\.gpu\b")
    return [
        str(file.relative_to(ROOT))
        for file in files
        if marked.search(file.read_text(encoding="utf-8"))
    ]


def run_gpu_tests(limit: float) -> str:
    """Run the tests marked ``gpu`` and return their last line.

    Args:
        limit: seconds that they may take.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *gpu_tests()]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired as error:
        print((error.stdout or b"").decode())
        return f"ended after {limit:.0f} s, as they would have taken longer"
    if done.returncode:
        print(done.stdout, done.stderr)
    # What is not even started says why as an error.
    return (done.stdout.strip() or done.stderr.strip()).rpartition("\n")[2]


def estimate(name: str, precision: str) -> str:
    """Return what the counts of a step come to on a GPU, as an estimate and no measurement."""
    # It imports what reads studies and databases, which a machine with a GPU may not have.
    from indian_tune.planning.gpu_model import (
        BANDWIDTH_SHARE,
        EAGER_SECONDS,
        GPUS,
        KERNEL_SECONDS,
        PRODUCTS_SHARE,
    )
    from indian_tune.training.counting import Counts

    counts = json.loads(COUNTS.read_text(encoding="utf-8"))
    gpu = GPUS[name]
    lines = [
        f"Estimated from counts, not measured: a step of 8 runs, batches of 16, on an {name}, with "
        f"{KERNEL_SECONDS * 1e6:g} µs a kernel in a graph, {BANDWIDTH_SHARE:.0%} of "
        f"{gpu.bytes_per_second / 1e12:g} TB/s and {PRODUCTS_SHARE[precision]:.0%} of "
        f"{gpu.flops_per_second[precision] / 1e12:g} TFLOP/s in {precision}; an eager run starts "
        f"its kernels one by one, {EAGER_SECONDS * 1e6:g} µs each.",
        "",
        "| step | kernels | MB | GFLOP | µs | times 8 eager runs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for title, count in counts.items():
        step = Counts(**count)
        packed = gpu.seconds(step, precision)
        # The same work in eight times as many kernels.
        eager = gpu.eager_seconds(step.times(8, 1), precision)
        lines.append(
            f"| {title} | {step.launches} | {step.bytes / 1e6:.0f} | {step.flops / 1e9:.1f} | "
            f"{packed * 1e6:.0f} | {eager / packed:.1f} |"
        )
    return "\n".join(lines)


def describe(device: str, model: str, batches: int, rounds: int) -> dict[str, Any]:
    return {
        "device": "CPU" if device == "cpu" else torch.cuda.get_device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "indian_tune": indian_tune.__version__,
        "model": model,
        "batch_size": BATCH_SIZE,
        "batches": batches,
        "rounds": rounds,
    }


def to_markdown(report: dict[str, Any]) -> str:
    setting, evaluation = report["setting"], report["evaluation"]
    told = {True: "yes", False: "NO", LEFT_OUT: LEFT_OUT}
    if evaluation is None:
        share = f"was {LEFT_OUT}"
    else:
        share = f"takes {100 * evaluation:.0f} % of an epoch"
    lines = [
        f"# Packs of runs of {setting['model']}",
        "",
        f"{setting['device']}, torch {setting['torch']}, CUDA {setting['cuda']}, Python "
        f"{setting['python']}; batches of {setting['batch_size']}, {setting['batches']} in an "
        f"epoch; medians of {setting['rounds']} epochs. The last three columns are against one run "
        "in the eager loop, in float32 and in the precision of the cell, timed beside each cell.",
        "",
        f"Tests marked `gpu`: {report['tests']}.",
        "",
        "A run has the same bits in every lane, alone and beside others: "
        + "; ".join(f"{name}: {told[same]}" for name, same in report["bits"].items())
        + ".",
        "",
        f"Evaluation on as many images as are trained on {share}.",
        "",
        "| precision | convolutions | runs | images/s | MiB | × float32 | least | × its own |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["rows"]:
        cell = row["cell"]
        start = f"| {row['precision']} | {row['convolutions']} | {row['runs']} |"
        if cell is None or cell == LEFT_OUT:
            lines.append(f"{start} | {cell or 'out of memory'} | | | |")
        else:
            lines.append(
                f"{start} {cell['images_per_second']:.0f} | {cell['memory_mib']:.0f} | "
                f"{cell['over_eager_loop']:.2f} | {cell['least_over_eager_loop']:.2f} | "
                f"{cell['over_its_own_eager_loop']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def write(report: dict[str, Any], folder: Path | None) -> None:
    """Write the files, each of which is whole at any time."""
    if folder is None:
        return
    for name, text in (
        ("packs.json", json.dumps(report, indent=2) + "\n"),
        ("packs.md", to_markdown(report)),
    ):
        unfinished = folder / f".{name}"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", choices=list(SHAPES), default="nin")
    parser.add_argument("--lanes", type=int, nargs="+", default=list(LANES))
    parser.add_argument("--batches", type=int, default=100, help="in an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=480, help="that all may take")
    parser.add_argument("--estimate", action="store_true", help="measure nothing; print a model")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    arguments = parser.parse_args()
    began = time.monotonic()
    if arguments.estimate:
        print(estimate("H100", "bfloat16"))
        return
    device, model, batches = arguments.device, arguments.model, arguments.batches
    if device == "cpu":
        torch.set_num_threads(1)
    elif not torch.cuda.is_available():
        sys.exit(
            "torch finds no CUDA device here: nothing is measured. --estimate prints what is "
            "expected of one, and --device cpu --model nin-small tries this script out"
        )
    end = began + arguments.seconds
    deadline = Deadline(end - RESERVE)
    report: dict[str, Any] = {
        "setting": describe(device, model, batches, arguments.rounds),
        "tests": "none on a CPU",
        "bits": {},
        "rows": blank_rows(device, arguments.lanes),
        "evaluation": None,
    }
    keep = partial(write, report, arguments.out)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    if device != "cpu":
        report["tests"] = run_gpu_tests(TESTS_SHARE * arguments.seconds)
        keep()
    few = make_problem(model, min(batches, 5), BATCH_SIZE)
    report["bits"] = bits_by_lane(few, device, Deadline(deadline.at))
    keep()
    problem = make_problem(model, batches)
    measure(problem, device, report["rows"], arguments.rounds, deadline, keep)
    deadline.at = end
    if deadline.allows_another:
        most = max(arguments.lanes[:4])
        report["evaluation"] = evaluation_share(model, min(batches, 50), device, most)
    keep()
    print(to_markdown(report))


if __name__ == "__main__":
    main()
