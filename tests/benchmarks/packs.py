"""Images per second of packs of K runs on a GPU, against one run in an eager loop.

Claims, for ``nin`` on 32×32 images and batches of 32 on a GPU of the H200 class: one run in
captured steps takes in at least 2 times as many images per second as one run in the eager loop, and
the best pack at least 8 times as many in all.

Every cell trains K runs of INDIAN by the trainer itself, an epoch to warm up and capture, then
epochs by the clock; one image is measured after each, so that evaluation does not count. The eager
loop is timed again beside every cell, and ratios are taken with that time. Memory is the most that
torch had allocated on the GPU.

    python tests/benchmarks/packs.py --out tests/benchmarks/results

``--device cpu --model nin-small --lanes 1 2 --batches 2`` tries the script out where there is no
GPU; its figures then say nothing about one.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from indian_tune.problems.models import build_model
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import Packing, Precision, Run, Trainer

BATCH_SIZE = 32
LANES = (1, 2, 4, 8, 16, 32)
CONVOLUTIONS = ("grouped", "matmul")
PRECISIONS = {
    "float32": Precision("float32"),
    "tf32": Precision("float32", tf32=True),
    "bfloat16": Precision("bfloat16"),
}
SHAPES = {"nin": (3, 32, 100), "nin-small": (1, 8, 10)}


def make_problem(model: str, batches: int) -> Problem:
    """Noise of the shape that the model is made for."""
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
        test=Split(train.inputs[:1], train.labels[:1]),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        scale=255.0,
        build_model=partial(build_model, model, classes=classes, channels=channels, size=size),
    )


def make_trainer(problem: Problem, device: str, runs: int, **arguments: Any) -> Trainer:
    trainer = Trainer(problem, device=device, train_eval_size=1, **arguments)
    for seed in range(runs):
        trainer.add(
            Run(
                key=f"{seed}",
                seed=seed,
                epochs=10**9,
                family="indian",
                config={"gamma0": 1e-3, "alpha": 0.5, "beta": 0.1},
                batch_size=BATCH_SIZE,
                dropout=0.5,
            )
        )
    return trainer


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
    eager: Trainer,
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
        rates, ratios = [], []
        for _ in range(rounds):
            rates.append(lanes * images / seconds_of_an_epoch(pack, device))
            ratios.append(rates[-1] * seconds_of_an_epoch(eager, device) / images)
    except torch.OutOfMemoryError:
        return None
    return {
        "images_per_second": statistics.median(rates),
        "over_eager_loop": statistics.median(ratios),
        "least_over_eager_loop": min(ratios),
        "memory_mib": 0.0 if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20,
    }


def measure(problem: Problem, device: str, lanes: list[int], rounds: int) -> list[dict[str, Any]]:
    rows = []
    eager = make_trainer(problem, device, 1, packing=Packing(execution="loop"))
    seconds_of_an_epoch(eager, device)
    for name, precision in PRECISIONS.items():
        if name == "tf32" and device == "cpu":
            continue
        for way in CONVOLUTIONS:
            for count in lanes:
                packing = Packing(count, way, execution="stacked")
                cell = measure_cell(problem, device, eager, packing, precision, rounds)
                key = {"precision": name, "convolutions": way, "runs": count}
                rows.append({**key, "cell": cell})
    return rows


def describe(device: str, model: str, batches: int, rounds: int) -> dict[str, Any]:
    return {
        "device": "CPU" if device == "cpu" else torch.cuda.get_device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
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
        f"epoch; medians of {setting['rounds']} epochs. The last two columns are against one run "
        "in the eager float32 loop, timed beside each cell.",
        "",
        "| precision | convolutions | runs | images/s | MiB | times the eager loop | least |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in report["rows"]:
        cell = row["cell"]
        start = f"| {row['precision']} | {row['convolutions']} | {row['runs']} |"
        if cell is None:
            lines.append(f"{start} | out of memory | | |")
        else:
            lines.append(
                f"{start} {cell['images_per_second']:.0f} | {cell['memory_mib']:.0f} | "
                f"{cell['over_eager_loop']:.2f} | {cell['least_over_eager_loop']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", choices=list(SHAPES), default="nin")
    parser.add_argument("--lanes", type=int, nargs="+", default=list(LANES))
    parser.add_argument("--batches", type=int, default=100, help="in an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    arguments = parser.parse_args()

    if arguments.device == "cpu":
        torch.set_num_threads(1)
    problem = make_problem(arguments.model, arguments.batches)
    report = {
        "setting": describe(arguments.device, arguments.model, arguments.batches, arguments.rounds),
        "rows": measure(problem, arguments.device, arguments.lanes, arguments.rounds),
    }
    print(to_markdown(report))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "packs.json").write_text(json.dumps(report, indent=2) + "\n")
        (arguments.out / "packs.md").write_text(to_markdown(report))


if __name__ == "__main__":
    main()
