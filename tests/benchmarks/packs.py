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

takes 8 minutes at most: cells that are left by then are said to be left out. Without a GPU,
``--estimate`` tells what the counts of kernels, bytes and products come to on one.

``--device cpu --model nin-small --lanes 1 2 --batches 2`` tries the script out where there is no
GPU; its figures then say nothing about one.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

import indian_tune
from indian_tune.planning.gpu_model import (
    BANDWIDTH_SHARE,
    EAGER_SECONDS,
    GPUS,
    KERNEL_SECONDS,
    PRODUCTS_SHARE,
)
from indian_tune.problems.models import build_model
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import Packing, Precision, Run, Trainer
from indian_tune.training.counting import Counts

ROOT = Path(__file__).parents[2]
# Of a step, by the tests of the stand-in device.
COUNTS = ROOT / "tests" / "training" / "launches.json"
LEFT_OUT = "left out for want of time"
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
    except torch.OutOfMemoryError:
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


def measure(
    problem: Problem, device: str, lanes: list[int], rounds: int, deadline: float
) -> list[dict[str, Any]]:
    """Return the cells, of which those that are left at the deadline are left out."""
    rows: list[dict[str, Any]] = []
    reference = eager_loop(problem, device, PRECISIONS["float32"])
    # What the goals are about comes first.
    for name in ("bfloat16", "tf32", "float32"):
        precision = PRECISIONS[name]
        if name == "tf32" and device == "cpu":
            continue
        eager = {"float32": reference, "own": eager_loop(problem, device, precision)}
        for count in lanes:
            for way in CONVOLUTIONS:
                key: dict[str, Any] = {"precision": name, "convolutions": way, "runs": count}
                if time.monotonic() > deadline:
                    rows.append({**key, "cell": LEFT_OUT})
                    continue
                packing = Packing(count, way, execution="stacked")
                cell = measure_cell(problem, device, eager, packing, precision, rounds)
                rows.append({**key, "cell": cell})
    return rows


def bits_by_lane(problem: Problem, device: str) -> dict[str, bool]:
    """Return whether the metrics of runs are equal to the bit in other lanes and alone."""

    def records(order: list[int], packing: Packing, precision: Precision) -> dict[str, Any]:
        trainer = Trainer(problem, device=device, packing=packing, precision=precision)
        for seed in order:
            trainer.add(run_of(seed, epochs=1))
        return {record.key: record.metrics for record in trainer.advance()}

    found = {}
    for name, precision in PRECISIONS.items():
        if name == "tf32" and device == "cpu":
            continue
        for way in CONVOLUTIONS:
            packing = Packing(4, way, execution="stacked")
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


def run_gpu_tests() -> str:
    """Run the tests marked ``gpu`` and return their last line."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout)
    return done.stdout.strip().rpartition("\n")[2]


def estimate(name: str, precision: str) -> str:
    """Return what the counts of a step come to on a GPU, as an estimate and no measurement."""
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
    setting = report["setting"]
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
        + "; ".join(f"{name}: {'yes' if same else 'NO'}" for name, same in report["bits"].items())
        + ".",
        "",
        f"Evaluation on as many images as are trained on takes {100 * report['evaluation']:.0f} % "
        "of an epoch.",
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
    # What comes after the cells takes some seconds.
    deadline = time.monotonic() + arguments.seconds - 45
    problem = make_problem(model, batches)
    few = make_problem(model, min(batches, 5), BATCH_SIZE)
    report = {
        "setting": describe(device, model, batches, arguments.rounds),
        "tests": "none on a CPU" if device == "cpu" else run_gpu_tests(),
        "bits": bits_by_lane(few, device),
        "rows": measure(problem, device, arguments.lanes, arguments.rounds, deadline),
        "evaluation": evaluation_share(model, min(batches, 50), device, max(arguments.lanes[:4])),
    }
    print(to_markdown(report))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "packs.json").write_text(json.dumps(report, indent=2) + "\n")
        (arguments.out / "packs.md").write_text(to_markdown(report))


if __name__ == "__main__":
    main()
