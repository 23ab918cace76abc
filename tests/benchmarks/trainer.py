"""Images per second of the trainer against the loop that a user would write today.

Claims, for the same network, batch size and machine of 2 cores, evaluation excluded on both sides:
the trainer takes in at least 2.5 times as many images per second for ``nin-small`` on digits, at
least 1.3 times as many for ``nin`` on 32×32 images in float32, and at least 2.5 times as many with
bfloat16; and a float32 step of ``nin`` takes at most 1.25 times as long as its arithmetic would at
the rate of this processor's matrix products.

The share of a step that is neither matrix product (or convolution) nor optimizer is reported beside
it: both are measured alone, on the shapes and in the precision of the step.

The user's loop: a DataLoader over a torchvision dataset with transforms, NCHW, eager, the published
recursion of INDIAN tensor by tensor, ``loss.item()`` in every step; one process, to which torch
gives all cores. It is also measured in one process per core, as the trainer is used.

All contenders live in processes of their own and take turns: only one of them computes at a time,
ratios are taken within a round, and medians over the rounds are reported with the range of the
middle half. Images per second are by the clock on the wall; what compares one thread with one
thread is also taken in seconds of the processor, which other work on the machine does not lengthen.
The machine's load is reported: with other work beside it, a loop of two threads that wait for each
other suffers more than two loops of one.

    python -m tests.benchmarks.trainer --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from torch import Tensor, nn

from indian_tune.problems import load_problem
from indian_tune.problems.models import build_model
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import Precision, Run, Trainer, keep_freed_memory
from indian_tune.training.by_hand import by_hand
from indian_tune.training.live import LiveRun
from tests.benchmarks.everyday import EverydayTraining
from tests.benchmarks.report import processor, save, spread

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CORES = 2
BATCH_SIZE = 32
GAMMA0, ALPHA, BETA = 1e-3, 0.5, 0.1
GEMM_SIZE = 1536
aten = torch.ops.aten
DIGITS, NIN = "nin-small on digits", "nin on 32×32 images"
USER, USER_SPLIT = "user's loop, 1 process, 2 threads", "user's loop, 2 processes, 1 thread each"
OURS, OURS_SHORT = "trainer, float32", "trainer, bfloat16"
# Parts of a step of the trainer that are measured alone.
PRODUCTS, OPTIMIZER = "products", "optimizer"


@dataclass(frozen=True)
class Contender:
    """Who trains, in how many processes of how many threads."""

    kind: str
    processes: int
    threads: int
    precision: str = "float32"


CONTENDERS = {
    USER: Contender("user", 1, CORES),
    USER_SPLIT: Contender("user", CORES, 1),
    OURS: Contender("trainer", CORES, 1),
    OURS_SHORT: Contender("trainer", CORES, 1, "bfloat16"),
}


def digits() -> Problem:
    problem = load_problem(dataset="digits", model="nin-small")
    # Twice the same images, so that what an epoch needs besides its steps does not count.
    many = Split(problem.train.inputs.repeat(2, 1, 1, 1), problem.train.labels.repeat(2))
    return replace(problem, train=many, validation=None, test=_first(problem.test, 1))


def cifar_shaped(count: int) -> Problem:
    source = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=source)
    train = Split(images, torch.randint(0, 100, (count,), generator=source))
    return Problem(
        dataset="noise",
        model="nin",
        classes=100,
        train=train,
        validation=None,
        test=_first(train, 1),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        scale=255.0,
        build_model=partial(build_model, "nin", classes=100, channels=3, size=32),
    )


def _first(split: Split, count: int) -> Split:
    return Split(split.inputs[:count], split.labels[:count])


Epoch = Callable[[], None]


def user_s_epoch(problem: Problem) -> Epoch:
    training = EverydayTraining(
        problem, gamma0=GAMMA0, alpha=ALPHA, beta=BETA, batch_size=BATCH_SIZE, dropout=0.5
    )

    def epoch() -> None:
        training.epoch()

    return epoch


def trainer_s_epoch(problem: Problem, precision: str) -> Epoch:
    # One image is measured after each epoch: the record is all that evaluation is left with.
    trainer = Trainer(problem, precision=Precision(precision), train_eval_size=1)
    trainer.add(_run())
    return lambda: _checked(trainer)


def _run() -> Run:
    config = {"gamma0": GAMMA0, "alpha": ALPHA, "beta": BETA}
    return Run(
        key="run",
        seed=0,
        epochs=10**9,
        family="indian",
        config=config,
        batch_size=BATCH_SIZE,
        dropout=0.5,
    )


def _checked(trainer: Trainer) -> None:
    (record,) = trainer.advance()
    assert not record.diverged


def _steps(problem: Problem) -> int:
    return -(-len(problem.train) // BATCH_SIZE)


def products_s_epoch(problem: Problem, precision: str) -> Epoch:
    """The matrix products and convolutions of an epoch's steps, and nothing else.

    The last batch of an epoch counts as a full one.
    """
    model = problem.build_model(seed=0, dropout=0.0)
    shape = problem.train.inputs.shape[1:]
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    # There every layer is a product of matrices.
    written_out = precision == "float32" and by_hand(model, shape, seed=0) is not None
    calls: list[Callable[[], object]] = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        first = not calls
        weight = layer.weight.detach().to(dtype)
        if isinstance(layer, nn.Conv2d) and weight[0, 0].numel() > 1 and not written_out:
            inputs, grad = given[0].to(dtype), output.to(dtype)
            rest = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups)
            calls.append(partial(aten.convolution, inputs, weight, None, *rest))
            needed = [not first, True, False]
            back = partial(aten.convolution_backward, grad, inputs, weight, None, *rest, needed)
            calls.append(back)
            return
        matrix = weight.flatten(1)
        columns, inner = matrix.shape
        inputs = torch.randn(output.numel() // columns, inner, dtype=dtype)
        grad = torch.randn(len(inputs), columns, dtype=dtype)
        calls.append(partial(torch.mm, inputs, matrix.t(), out=torch.empty_like(grad)))
        calls.append(partial(torch.mm, grad.t(), inputs, out=torch.empty_like(matrix)))
        if not first:
            calls.append(partial(torch.mm, grad, matrix, out=torch.empty_like(inputs)))

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    with torch.no_grad():
        model(torch.randn(BATCH_SIZE, *shape).to(memory_format=torch.channels_last))

    @torch.no_grad()
    def epoch() -> None:
        for _ in range(_steps(problem)):
            for call in calls:
                call()

    return epoch


def optimizer_s_epoch(problem: Problem) -> Epoch:
    """The optimizer's steps of an epoch, and nothing else."""
    live = LiveRun(_run(), problem, torch.device("cpu"))
    for parameter in live.model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def epoch() -> None:
        for _ in range(_steps(problem)):
            live.optimizer.step()
            if live.scheduler is not None:
                live.scheduler.step()

    return epoch


def product() -> Epoch:
    """A matrix product that is large enough to reach the processor's rate."""
    left, right = torch.randn(2, GEMM_SIZE, GEMM_SIZE).unbind()
    out = torch.empty_like(left)

    def multiply() -> None:
        for _ in range(4):
            torch.mm(left, right, out=out)

    return multiply


PRODUCT_FLOPS = 4 * 2 * GEMM_SIZE**3


def step_flops(problem: Problem) -> int:
    """Multiplications and additions of the products in a step of one batch.

    Each layer has one product forward and two backward; the first needs no gradient of its input.
    """
    model = problem.build_model(seed=0, dropout=0.0)
    products: list[int] = []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        products.append(layer.weight.numel() * output.numel() // layer.weight.shape[0])

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.zeros(1, *problem.train.inputs.shape[1:]))
    return 2 * BATCH_SIZE * (3 * sum(products) - products[0])


@dataclass(frozen=True)
class Seconds:
    """By the clock on the wall, and of the processor."""

    wall: float
    processor: float


def serve(make: Callable[[], dict[str, Epoch]], threads: int, pipe: Connection) -> None:
    """In a process of its own: do what is named, and answer with how long it took."""
    torch.set_num_threads(threads)
    epochs = make()
    for epoch in epochs.values():
        epoch()
    pipe.send(None)
    while (name := pipe.recv()) is not None:
        wall, busy = time.perf_counter(), time.process_time()
        epochs[name]()
        pipe.send(Seconds(time.perf_counter() - wall, time.process_time() - busy))


def make_epochs(problem: Problem, contender: Contender) -> dict[str, Epoch]:
    if contender.kind == "user":
        return {"train": user_s_epoch(problem)}
    # As workers do.
    keep_freed_memory()
    return {
        "train": trainer_s_epoch(problem, contender.precision),
        PRODUCTS: products_s_epoch(problem, contender.precision),
        OPTIMIZER: optimizer_s_epoch(problem),
        "product": product(),
    }


class Team:
    """The processes of a contender."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def do(self, name: str) -> Seconds:
        """Let all processes do the same at once.

        Returns:
            The wall time of the slowest, and the processor's seconds of one, on average.
        """
        for pipe in self._pipes:
            pipe.send(name)
        each: list[Seconds] = [pipe.recv() for pipe in self._pipes]
        return Seconds(
            max(one.wall for one in each), statistics.mean(one.processor for one in each)
        )


@contextmanager
def team(problem: Problem, contender: Contender) -> Iterator[Team]:
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(contender.processes):
        here, there = context.Pipe()
        make = partial(make_epochs, problem, contender)
        process = context.Process(target=serve, args=(make, contender.threads, there))
        process.start()
        pipes.append(here)
        processes.append(process)
    try:
        for pipe in pipes:
            pipe.recv()
        yield Team(pipes)
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(None)
            process.join()


def measure(problem: Problem, rounds: int) -> dict[str, list[Seconds]]:
    """Return how long an epoch of each contender took in each round."""
    times: dict[str, list[Seconds]] = {}
    with (
        team(problem, CONTENDERS[USER]) as user,
        team(problem, CONTENDERS[USER_SPLIT]) as user_split,
        team(problem, CONTENDERS[OURS]) as ours,
        team(problem, CONTENDERS[OURS_SHORT]) as ours_short,
    ):
        teams = {USER: user, USER_SPLIT: user_split, OURS: ours, OURS_SHORT: ours_short}
        for _ in range(rounds):
            for name, each in teams.items():
                times.setdefault(name, []).append(each.do("train"))
                if CONTENDERS[name].kind == "trainer":
                    for part in (PRODUCTS, OPTIMIZER):
                        times.setdefault(f"{name}: {part}", []).append(each.do(part))
            times.setdefault("product", []).append(ours.do("product"))
    return times


def summarise(problem: Problem, times: dict[str, list[Seconds]]) -> dict[str, Any]:
    count = len(problem.train)
    rates = {
        name: [contender.processes * count / each.wall for each in times[name]]
        for name, contender in CONTENDERS.items()
    }

    def ratio(ours: str, user: str) -> dict[str, float]:
        return spread([a / b for a, b in zip(rates[ours], rates[user], strict=True)])

    def quotients(one: str, other: str) -> list[float]:
        return [a.processor / b.processor for a, b in zip(times[one], times[other], strict=True)]

    def other_shares(name: str) -> list[float]:
        parts = [quotients(f"{name}: {part}", name) for part in (PRODUCTS, OPTIMIZER)]
        return [1 - products - optimizer for products, optimizer in zip(*parts, strict=True)]

    flops = step_flops(problem) * count / BATCH_SIZE
    bound = [each * PRODUCT_FLOPS / flops for each in quotients(OURS, "product")]
    return {
        "images_per_second": {name: spread(values) for name, values in rates.items()},
        "ratios": {
            f"{ours} / {user}": ratio(ours, user)
            for ours in (OURS, OURS_SHORT)
            for user in (USER, USER_SPLIT)
        },
        "other_share": {name: spread(other_shares(name)) for name in (OURS, OURS_SHORT)},
        "processor_seconds_ratios": {
            f"{USER_SPLIT} / {ours}": spread(quotients(USER_SPLIT, ours))
            for ours in (OURS, OURS_SHORT)
        },
        "gflop_per_step": step_flops(problem) / 1e9,
        "product_gflop_per_second": spread(
            [PRODUCT_FLOPS / each.processor / 1e9 for each in times["product"]]
        ),
        "float32_step_over_product_bound": spread(bound),
    }


def describe(rounds: dict[str, int]) -> dict[str, Any]:
    return {
        "device": processor(),
        "cores": CORES,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "batch_size": BATCH_SIZE,
        "rounds": rounds,
        "contenders": {name: asdict(contender) for name, contender in CONTENDERS.items()},
    }


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    lines = [
        "# Training: images per second against the loop a user would write",
        "",
        f"{setting['device']}, {setting['cores']} cores, torch {setting['torch']}, torchvision "
        f"{setting['torchvision']}, Python {setting['python']}; batches of "
        f"{setting['batch_size']}. The trainer runs in 2 processes of 1 thread each. Median and "
        "middle half over the rounds; ratios are taken within a round. With other work beside it, "
        "a loop of two threads that wait for each other is slowed most: the ratios to the loop "
        "in 2 processes are then the ones to go by.",
    ]
    for title, rounds in setting["rounds"].items():
        part = report[title]
        rows = [(name, row, ".0f") for name, row in part["images_per_second"].items()]
        lines += ["", f"## {title} (n = {rounds} rounds)", ""]
        lines += _table("images per second, whole machine", rows)
        rows = [(name, row, ".2f") for name, row in part["ratios"].items()]
        rows += [
            (f"processor's seconds: {name}", row, ".2f")
            for name, row in part["processor_seconds_ratios"].items()
        ]
        rows += [
            (f"{name}: share of a step that is neither product nor optimizer", row, ".3f")
            for name, row in part["other_share"].items()
        ]
        bound = part["float32_step_over_product_bound"]
        rows.append(("trainer, float32: step / its products at the rate below", bound, ".2f"))
        lines += ["", *_table("ratio", rows), ""]
        rate = part["product_gflop_per_second"]["median"]
        lines.append(
            f"A step's products take {part['gflop_per_step']:.3g} GFLOP; a product of "
            f"{GEMM_SIZE} × {GEMM_SIZE} matrices runs at {rate:.0f} GFLOP/s on each core while "
            "the other one does the same. The shares and the last ratio are of the processor's "
            "seconds; a share below 0 says that the convolutions in the step are faster than these "
            f"products measured alone. Load of the machine when this began: {part['load']:.1f}."
        )
    return "\n".join(lines) + "\n"


def _table(title: str, rows: list[tuple[str, dict[str, float], str]]) -> list[str]:
    return [
        f"| {title} | median | middle half |",
        "|---|---:|---:|",
        *(
            f"| {name} | {row['median']:{form}} | {row['lower_quartile']:{form}} to "
            f"{row['upper_quartile']:{form}} |"
            for name, row, form in rows
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21, help="for digits; a third for nin")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    arguments = parser.parse_args()
    rounds = {DIGITS: arguments.rounds, NIN: max(2, arguments.rounds // 3)}
    problems = {DIGITS: digits(), NIN: cifar_shaped(4 * BATCH_SIZE)}
    report: dict[str, Any] = {"setting": describe(rounds)}
    for title, problem in problems.items():
        load = os.getloadavg()[0]
        report[title] = {"load": load, **summarise(problem, measure(problem, rounds[title]))}
    save(arguments.out, "trainer", report, to_markdown(report))


if __name__ == "__main__":
    main()
