"""One optimizer step on the parameters of Network in Network: INDIAN against its yardsticks.

Claims: on one CPU thread, a step of INDIAN is at least 4 times faster than the published recursion
written tensor by tensor with its temporaries, and takes at most 1.3 times as long as
``torch.optim.SGD(momentum=0.9)`` at its fastest setting; a step of INNAprop takes at most 1.2 times
as long as torch's AdamW with ``foreach``; the step of a schedule takes at most 1 % of a step of
training, of which the optimizer's is a part. Schedules are timed alone, since the difference of two
steps does not resolve a hundredth. The other families of today, clipping by norm and the average of
the weights stand beside, without a claim. Beside them stands a plain copy that moves
as much memory as a step must: parameter, velocity and gradient read, parameter and velocity
written, 5 floats per parameter.

All contenders take turns in one process, so that the ratios are measured side by side; each round
gives one time per contender, ratios are taken within a round, and medians over the rounds are
reported with the range of the middle half.

    python -m tests.benchmarks.optimizer_step --out tests/benchmarks/results

On a GPU (``--device cuda``) times are taken with CUDA events.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from indian_tune.optim import Indian, Innaprop, get_family, psi_form_step
from indian_tune.optim.hyperparameters import SCHEDULE
from indian_tune.optim.own_family import set_mode
from tests.benchmarks.report import processor, save, spread

# Convolutions and the dense layer of Network in Network for 100 classes: (out, in, kernel).
CONVOLUTIONS = [
    (192, 3, 5),
    (160, 192, 1),
    (96, 160, 1),
    (192, 96, 5),
    (192, 192, 1),
    (192, 192, 1),
    (192, 192, 3),
    (192, 192, 1),
    (100, 192, 1),
]
DENSE = (100, 100)
FLOATS_MOVED = 5
# 128 MiB, several times the last-level cache of a processor or a GPU.
SWEPT_FLOATS = 2**25
WARM_UP = 5
CONDITIONS = {"As in training: the caches hold something else": "swept", "Back to back": "warm"}

TODAY = ("nadamw", "lion", "muon", "schedule-free", "matrices=torch.optim:Muon,rest=indian")
SCHEDULES = ("power", "cosine", "wsd")
SCHEDULED_STEPS = 100_000
LARGEST_NORM, DECAY = 1.0, 0.999

Step = Callable[[], object]


def make_tensors(device: str) -> list[Tensor]:
    shapes: list[tuple[int, ...]] = []
    for out, channels, kernel in CONVOLUTIONS:
        shapes += [(out, channels, kernel, kernel), (out,)]
    shapes += [DENSE, DENSE[:1]]
    return [torch.randn(shape, device=device) * 0.01 for shape in shapes]


def make_parameters(device: str) -> list[nn.Parameter]:
    parameters = [nn.Parameter(tensor) for tensor in make_tensors(device)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter) * 1e-3
    return parameters


def textbook_loop(device: str) -> Step:
    parameters = make_tensors(device)
    grads = [torch.randn_like(parameter) * 1e-3 for parameter in parameters]
    phases = [0.95 * parameter for parameter in parameters]

    def step() -> None:
        for theta, psi, grad in zip(parameters, phases, grads, strict=True):
            psi_form_step(theta, psi, grad, gamma=1e-3, alpha=0.5, beta=0.1)

    return step


def indian(device: str, **options: Any) -> Step:
    return Indian(make_parameters(device), lr=1e-3, **options).step


def sgd(device: str, **options: Any) -> Step:
    return torch.optim.SGD(make_parameters(device), lr=1e-3, momentum=0.9, **options).step


def family(device: str, name: str) -> Step:
    own = get_family(name)
    rates = dict.fromkeys(own.rates, 1e-3)
    optimizer, _ = own.build(make_parameters(device), rates)
    set_mode(optimizer, training=True)
    return optimizer.step


def schedule(device: str, kind: str) -> Step:
    """Return the step of a schedule alone, of an optimizer that has begun."""
    config = {"gamma0": 1e-3, "schedule": SCHEDULE.labels.index(kind), "warmup": 0.1}
    optimizer, scheduler = get_family("indian").build(
        make_parameters(device), {**config, "schedule_steps": SCHEDULED_STEPS}
    )
    assert scheduler is not None
    optimizer.step()
    return scheduler.step


def clipping(device: str) -> Step:
    parameters = make_parameters(device)
    return lambda: nn.utils.clip_grad_norm_(parameters, LARGEST_NORM)


def averaging(device: str) -> Step:
    parameters, averages = make_tensors(device), make_tensors(device)
    return lambda: torch._foreach_lerp_(averages, parameters, 1 - DECAY)


def copy(device: str) -> Step:
    count = sum(tensor.numel() for tensor in make_tensors(device)) * FLOATS_MOVED // 2
    source, target = torch.randn(count, device=device), torch.empty(count, device=device)
    return lambda: target.copy_(source)


def make_contenders(device: str) -> dict[str, Step]:
    contenders: dict[str, Step] = {
        "textbook loop": textbook_loop(device),
        "Indian, tensor by tensor": indian(device, foreach=False),
        "Indian, foreach": indian(device, foreach=True),
        "Indian, default": indian(device),
        "SGD, tensor by tensor": sgd(device, foreach=False),
        "SGD, foreach": sgd(device, foreach=True),
        "SGD, fused": sgd(device, fused=True),
        "AdamW, foreach": torch.optim.AdamW(make_parameters(device), foreach=True).step,
        "INNAprop": Innaprop(make_parameters(device)).step,
        **{f"{name}, as searched": family(device, name) for name in TODAY},
        **{f"schedule {kind}, alone": schedule(device, kind) for kind in SCHEDULES},
        "clipping by norm, alone": clipping(device),
        "average of the weights, alone": averaging(device),
        "copy of as much memory": copy(device),
    }
    if device != "cpu":
        contenders["Indian, capturable"] = indian(device, capturable=True)
    return contenders


def time_on_cpu(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def time_on_gpu(step: Step) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")  # type: ignore[no-untyped-call]
    start.record()
    step()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def measure(device: str, rounds: int, *, sweep: bool) -> dict[str, list[float]]:
    """Return the seconds of each contender in each round.

    With ``sweep`` the caches are filled with something else before every step, as a forward and a
    backward pass do; without, a step is timed right after another one of its own.
    """
    timer = time_on_cpu if device == "cpu" else time_on_gpu
    contenders = make_contenders(device)
    elsewhere = torch.ones(SWEPT_FLOATS if sweep else 0, device=device)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with torch.no_grad():
        for number in range(rounds + WARM_UP):
            for name, step in contenders.items():
                if sweep:
                    elsewhere.add_(1)
                else:
                    step()
                seconds = timer(step)
                if number >= WARM_UP:
                    times[name].append(seconds)
    return times


def ratio(times: dict[str, list[float]], name: str, reference: str) -> dict[str, float]:
    return spread([a / b for a, b in zip(times[name], times[reference], strict=True)])


def summarise(times: dict[str, list[float]]) -> dict[str, Any]:
    fastest = min(
        (name for name in times if name.startswith("SGD")),
        key=lambda name: statistics.median(times[name]),
    )
    ours = "Indian, default"
    return {
        "microseconds": {
            name: spread([seconds * 1e6 for seconds in values]) for name, values in times.items()
        },
        "ratios": {
            "textbook loop / Indian": ratio(times, "textbook loop", ours),
            f"Indian / fastest SGD ({fastest})": ratio(times, ours, fastest),
            "INNAprop / AdamW, foreach": ratio(times, "INNAprop", "AdamW, foreach"),
            **{
                f"{name} / AdamW, foreach": ratio(times, f"{name}, as searched", "AdamW, foreach")
                for name in TODAY
            },
            **{
                f"schedule {kind} / Indian": ratio(times, f"schedule {kind}, alone", ours)
                for kind in SCHEDULES
            },
            "Indian / copy of as much memory": ratio(times, ours, "copy of as much memory"),
        },
    }


def describe(device: str, rounds: int) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "parameters": sum(tensor.numel() for tensor in make_tensors("cpu")),
        "tensors": len(make_tensors("cpu")),
        "dtype": "float32",
        "rounds": rounds,
    }


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    lines = [
        "# One optimizer step on the parameters of Network in Network",
        "",
        f"{setting['device']}, {setting['threads']} thread, torch {setting['torch']}, Python "
        f"{setting['python']}; {setting['parameters']:,} {setting['dtype']} parameters in "
        f"{setting['tensors']} tensors; n = {setting['rounds']} rounds. Median and middle half.",
    ]
    for title, key in CONDITIONS.items():
        rows = report[key]
        lines += ["", f"## {title}", "", "| step | µs | middle half |", "|---|---:|---:|"]
        lines += [
            f"| {name} | {row['median']:.0f} | {row['lower_quartile']:.0f} to "
            f"{row['upper_quartile']:.0f} |"
            for name, row in rows["microseconds"].items()
        ]
        lines += ["", "| ratio, taken within a round | median | middle half |", "|---|---:|---:|"]
        lines += [
            f"| {name} | {row['median']:.3g} | {row['lower_quartile']:.3g} to "
            f"{row['upper_quartile']:.3g} |"
            for name, row in rows["ratios"].items()
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=301)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(0)
    report: dict[str, Any] = {"setting": describe(arguments.device, arguments.rounds)}
    for key in CONDITIONS.values():
        times = measure(arguments.device, arguments.rounds, sweep=key == "swept")
        report[key] = summarise(times)
    name = "optimizer_step" if arguments.device == "cpu" else "optimizer_step_cuda"
    save(arguments.out, name, report, to_markdown(report))


if __name__ == "__main__":
    main()
