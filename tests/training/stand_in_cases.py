"""Takes packs of every kind through an epoch on a GPU that is not there; prints what it found.

    python -m tests.training.stand_in_cases

A process of its own, see :mod:`tests.training.stand_in`.
"""

from __future__ import annotations

import itertools
import json
import sys
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from indian_tune.optim import FAMILIES, stacked
from indian_tune.optim.kernel_choice import uses_kernels
from indian_tune.problems import models
from indian_tune.problems.models import CounterDropout, build_model
from indian_tune.problems.problem import Problem, Split
from indian_tune.training import pack as packs
from indian_tune.training import pack_evaluation, stacked_forward
from indian_tune.training.feed import Feed
from indian_tune.training.live import LiveRun, Setup
from indian_tune.training.pack import Pack, PackSignature
from indian_tune.training.precision import Precision
from indian_tune.training.run import Run
from tests.training.stand_in import GPU, Watch, faults_of_steps, install, no_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BATCH = 16
DECAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "decoupled": {"weight_decay": 0.1},
    "coupled": {"weight_decay": 0.1, "decoupled_weight_decay": 0.0},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "power": {},
    "cosine": {"schedule": "cosine", "warmup": 0.1},
    "wsd": {"schedule": "wsd", "cooldown": 0.5},
}
TASKS = ("classification", "regression", "tokens")
WAYS = ("grouped", "matmul", "vmap")
# Families of one packed step, such as INDIAN in other coordinates, are one.
PACKED = list(
    {
        id(family.packed): name for name, family in FAMILIES.items() if family.packed is not None
    }.values()
)


@dataclass(frozen=True)
class Case:
    """A kind of pack."""

    family: str = "indian"
    decay: str = "none"
    schedule: str = "power"
    way: str = "grouped"
    augmented: bool = False
    task: str = "classification"
    dropout: float = 0.5
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    start: bool = False
    lanes: int = 3
    kernels: bool = False
    model: str = "nin-small"


class Everyday(nn.Module):
    """For torch.func: no sequence, a norm with buffers, a frozen parameter."""

    def __init__(self, dropout: float, outputs: int) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.frozen = nn.Parameter(torch.ones(8, 1, 1), requires_grad=False)
        self.dropout, self.dense = CounterDropout(dropout, layer=0), nn.Linear(8 * 16, outputs)

    def forward(self, images: Tensor) -> Tensor:
        values = torch.relu(self.norm(self.convolution(images)) + self.frozen)
        values = nn.functional.avg_pool2d(self.dropout(values), 2)
        outputs: Tensor = self.dense(values.flatten(1))
        return outputs


class Characters(nn.Module):
    """A class for every character, by its one-hot code."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(6, 8))
        self.dense, self.dropout = nn.Linear(5, 8), CounterDropout(dropout, layer=0)
        self.out = nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        codes = (tokens.unsqueeze(-1) == torch.arange(5, device=tokens.device)).to(torch.float32)
        outputs: Tensor = self.out(self.dropout(torch.relu(self.dense(codes) + self.places)))
        return outputs


def problem_of(case: Case) -> Problem:
    """Return a problem of 3 full batches and a smaller one."""
    count = 3 * BATCH + 5
    if case.task == "tokens":
        tokens = torch.zeros(count, 6, dtype=torch.int64)
        part = Split(tokens, tokens)
        build: Any = lambda *, seed, dropout: Characters(dropout)  # noqa: E731
        return Problem("noise", "characters", 5, part, part, build, part, task="tokens")
    channels, size, classes = (3, 32, 100) if case.model == "nin" else (1, 8, 10)
    labels = torch.zeros(count, dtype=torch.int64)
    if case.task == "regression":
        classes, labels = 1, torch.zeros(count)
    part = Split(torch.zeros(count, channels, size, size, dtype=torch.uint8), labels)
    build = partial(build_model, case.model, classes=classes, channels=channels, size=size)
    if case.way == "vmap":
        build = lambda *, seed, dropout: Everyday(dropout, classes)  # noqa: E731
    scale = (0.5,) * channels
    return Problem(
        *("noise", case.model, classes, part, part, build, part, scale, scale, 255.0, case.task)
    )


def run_of(case: Case) -> Run:
    """Return a run of a case."""
    needs = FAMILIES[case.family].hyperparameters
    required = {name: each for name, each in needs.items() if each.required}
    config = {
        name: 0.1 if each.default is None else each.default for name, each in required.items()
    }
    extra = (
        DECAYS[case.decay]
        | SCHEDULES[case.schedule]
        | ({"initial_velocity": 0.1} if case.start else {})
    )
    config |= {name: needs[name].read(v, owner="") for name, v in extra.items() if name in needs}
    return Run(
        *("run", 1, 2, case.family, config, BATCH, case.dropout, case.clip_norm, case.ema_decay)
    )


@dataclass
class Trained:
    """What a case has been taken through."""

    pack: Pack
    live: LiveRun
    setup: Setup


def pack_of(case: Case) -> Trained:
    """Return a pack with one lane in use, an epoch planned."""
    problem = problem_of(case)
    feed = Feed(problem.train, problem, GPU)
    setup = Setup(problem, GPU, Precision(), feed, feed, None, feed, case.augmented)
    live = LiveRun(run_of(case), problem, GPU)
    way = "grouped" if case.way == "vmap" else case.way
    pack = Pack(PackSignature.of(live.run, live.config), case.lanes, setup, way)
    pack._load(0, live)
    pack._plan([live])
    return Trained(pack, live, setup)


def count_of(case: Case) -> dict[str, int]:
    """Return what a step of a case comes to."""
    watch = Watch()
    for module in (stacked, stacked_forward, models):
        module.uses_kernels = lambda _: case.kernels  # type: ignore[attr-defined]
    with no_gpu():
        pack = pack_of(case).pack
        with watch:
            pack._step(BATCH)
    for module in (stacked, stacked_forward, models):
        module.uses_kernels = uses_kernels  # type: ignore[attr-defined]
    return {"launches": watch.launches.total(), "flops": watch.flops, "bytes": watch.bytes}


def look_at(case: Case) -> set[str]:
    """Take a case through steps, evaluation and a checkpoint; return its faults."""
    with no_gpu():
        trained = pack_of(case)
        pack, live = trained.pack, trained.live
        faults = faults_of_steps(pack, [partial(pack._step, BATCH)] * 2, Watch())
        faults |= faults_of_steps(pack, [partial(pack._step, 5)], Watch())
        live.step = 5
        pack._unload(0, live)
        # The first time makes what is captured then.
        pack.dry_measure()
        for split, each in pack._evaluations.items():
            steps = [partial(each._step, len(each._places))]
            faults |= {f"{split}: {fault}" for fault in faults_of_steps(each, steps, Watch())}
        state = live.state()
        LiveRun(live.run, trained.setup.problem, GPU).restore(1, state)
    return faults


def pairwise() -> Iterator[Case]:
    """Yield few cases in which every pair of values of two properties occurs, greedily."""
    values: dict[str, tuple[Any, ...]] = {
        "family": tuple(PACKED),
        "decay": tuple(DECAYS),
        "schedule": tuple(SCHEDULES),
        "way": WAYS,
        "augmented": (False, True),
        "task": TASKS,
        "dropout": (0.0, 0.5),
        "clip_norm": (0.0, 1.0),
        "ema_decay": (0.0, 0.9),
        "start": (False, True),
        "lanes": (1, 3),
    }
    names = list(values)
    open_pairs = {
        ((one, x), (other, y))
        for one, other in itertools.combinations(names, 2)
        for x in values[one]
        for y in values[other]
        if possible({one: x, other: y})
    }
    while open_pairs:
        chosen: dict[str, Any] = dict(min(open_pairs, key=repr))
        for name in names:
            if name not in chosen:
                fitting = [v for v in values[name] if possible({**chosen, name: v})]
                chosen[name] = max(fitting, key=lambda v: gain(open_pairs, chosen, name, v))
        covered = set(itertools.combinations([(name, chosen[name]) for name in names], 2))
        open_pairs -= covered
        yield Case(**chosen)


def possible(chosen: dict[str, Any]) -> bool:
    """Whether values go together: tokens are not cropped, and take a network of their own."""
    if chosen.get("task") != "tokens":
        return True
    return not chosen.get("augmented") and chosen.get("way", "vmap") == "vmap"


def gain(open_pairs: set[Any], chosen: dict[str, Any], name: str, value: Any) -> int:
    """Return how many open pairs a value closes."""
    pairs = [((name, value), (other, own)) for other, own in chosen.items()]
    return sum(pair in open_pairs or pair[::-1] in open_pairs for pair in pairs)


class _Planted(nn.Module):
    """A network with a fault."""

    def __init__(self, fault: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.dense = nn.Linear(64, 10)
        self._fault = fault

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self._fault(self.dense(images.flatten(1)))
        return outputs


def _kept(outputs: Tensor, holder: list[Tensor]) -> Tensor:
    holder.append(outputs.detach())
    return outputs


def in_a_network(fault: Callable[[Tensor], Tensor]) -> set[str]:
    """Return what is found of a network with a fault, computed for the lanes side by side."""
    network = _Planted(fault)
    with no_gpu():
        network = network.to(GPU)
        inputs = torch.zeros(BATCH, 1, 8, 8, device=GPU)
        return faults_of_steps([], [lambda: network(inputs).sum().backward()] * 2, Watch())


def in_a_pack(plant: Callable[[Pack], None]) -> set[str]:
    """Return what is found of a pack into which a fault is planted."""
    with no_gpu():
        pack = pack_of(Case()).pack
        plant(pack)
        return faults_of_steps(pack, [partial(pack._step, BATCH)] * 2, Watch())


def after_step(pack: Pack, then: Callable[[], None]) -> None:
    """Have something done after every step of a pack."""
    step = pack._step

    def both(size: int) -> None:
        step(size)
        then()

    pack._step = both  # type: ignore[method-assign]


def rebind(pack: Pack) -> None:
    """Replace the parameters by their copy, which a captured step would not see."""
    pack._params = pack._params + 0


def rebind_state(pack: Pack) -> None:
    """The same with a state of the optimizer."""
    states = pack._optimizer.states
    states["velocity"] = states["velocity"] * 1


def keep(pack: Pack) -> None:
    """Keep a tensor that a step has made."""
    vars(pack)["_last"] = pack._params.clone()


def count(pack: Pack, counter: Iterator[int]) -> None:
    """Let a number of the host into a step: the same one in every replay."""
    pack._params.add_(next(counter))


PLANTED: dict[str, Callable[[], set[str]]] = {
    "item": lambda: in_a_network(lambda x: x * x.sum().item()),
    "nonzero": lambda: in_a_network(lambda x: x[x.sum(1).nonzero().flatten()]),
    "shape that depends on values": lambda: in_a_network(lambda x: x[x > 0]),
    "branch": lambda: in_a_network(lambda x: x if bool(x.sum() > 0) else -x),
    "host tensor": lambda: in_a_network(lambda x: x + torch.zeros(10).to(GPU)),
    "global generator": lambda: in_a_network(lambda x: nn.functional.dropout(x, 0.5)),
    "atomic addition": lambda: in_a_network(
        lambda x: x.index_add(0, torch.zeros(BATCH, dtype=torch.int64, device=GPU), x)
    ),
    "scattered addition": lambda: in_a_network(
        lambda x: x.scatter_add(0, torch.zeros_like(x, dtype=torch.int64), x)
    ),
    "parameters bound anew": lambda: in_a_pack(lambda p: after_step(p, partial(rebind, p))),
    "state bound anew": lambda: in_a_pack(lambda p: after_step(p, partial(rebind_state, p))),
    "tensor kept": lambda: in_a_pack(lambda p: after_step(p, partial(keep, p))),
    "number of the host": lambda: in_a_pack(
        lambda p: after_step(p, partial(count, p, itertools.count()))
    ),
}

COUNTED = {
    f"{model}, {way}, dropout {dropout:g}, {'crops' if augmented else 'no crops'}": Case(
        model=model, way=way, dropout=dropout, augmented=augmented, lanes=8
    )
    for model, way, (dropout, augmented) in itertools.product(
        ("nin-small", "nin"), ("grouped", "matmul"), ((0.0, False), (0.5, True))
    )
}
COUNTED["own network, dropout 0.5"] = Case(way="vmap", lanes=8)
COUNTED |= {f"{title}, kernels": replace(case, kernels=True) for title, case in COUNTED.items()}
COUNTED |= {f"nin-small, {name}": replace(Case(lanes=8), family=name) for name in PACKED}


def main() -> None:
    """Print everything as JSON."""
    install()
    for module in (packs, pack_evaluation):
        module.captured = lambda step, rewind, device: step  # type: ignore[attr-defined]
    # Of parameters that torch itself looks at the pointer of, which is 0 here as it should be.
    warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
    report = {
        "cases": {repr(case): sorted(look_at(case)) for case in pairwise()},
        "planted": {name: sorted(found()) for name, found in PLANTED.items()},
        "counts": {title: count_of(case) for title, case in COUNTED.items()},
    }
    json.dump(report, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
