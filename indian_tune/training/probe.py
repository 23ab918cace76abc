"""Measures which shape of packs is fastest on a device."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from indian_tune.optim.families import FAMILIES, get_family
from indian_tune.text import counted
from indian_tune.training.memory import is_out_of_memory
from indian_tune.training.pack import Pack, PackSignature
from indian_tune.training.packable import packing_fault
from indian_tune.training.packing import PackShape
from indian_tune.training.run import Run
from indian_tune.training.stacked_forward import CONVOLUTIONS, convolves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from indian_tune.training.live import Setup

log = logging.getLogger(__name__)

MOST_LANES = 64
LEAST_GAIN = 1.1
"""Throughput that twice as many lanes must bring, as a factor."""
WARM_UP = 2
STEPS = 10
# What is timed where nobody says what will be trained.
FAMILY = next(iter(FAMILIES.values()))
DEFAULT = Run("probe", 0, 1, FAMILY.name, dict.fromkeys(FAMILY.rates, 1.0), 32, 0.5)


def signatures_of(runs: Iterable[Run]) -> list[PackSignature]:
    """Return the signatures of runs, each once."""
    found: dict[PackSignature, None] = {}
    for run in runs:
        family = get_family(run.family)
        # How many steps a run has is a number of its schedule, and in no signature.
        config = family.with_steps(family.complete(run.config), 1)
        found[PackSignature.of(run, config)] = None
    return list(found)


def probe(
    setup: Setup,
    runs: Sequence[Run] = (),
    *,
    lanes: int | None = None,
    convolutions: str | None = None,
) -> PackShape | None:
    """Return the shape that trains most inputs per second here.

    The number of lanes is doubled until that brings less than 10 % or the memory does not suffice
    for a pack of every kind of run at once; a number that is given is halved until it does. Times
    vary, so two measurements may differ where two shapes are about equally fast: for bits that are
    to be repeated elsewhere, give both numbers.

    Args:
        setup: what the runs will share.
        runs: typical of what will be trained, with the largest batches.
        lanes: how many, if that is decided.
        convolutions: how they are computed, if that is decided.

    Returns:
        ``None`` if none of the runs can be packed; the log says why.

    Raises:
        RuntimeError: a step fails on the device whatever the shape is, or not even one lane fits
            into the memory.
    """
    ways = _ways(setup) if convolutions is None else (convolutions,)
    signatures: list[PackSignature] = []
    faults: dict[str, None] = {}
    for signature in signatures_of(runs or [DEFAULT]):
        fault = packing_fault(signature, setup, ways[0])
        if fault is None:
            signatures.append(signature)
        else:
            faults[fault] = None
    if not signatures:
        for fault in faults:
            log.warning("%s", fault)
        return None
    if lanes == 1 or (lanes is not None and len(ways) == 1):
        return PackShape(lanes, ways[0])

    def seconds(shape: PackShape) -> float:
        # All of them at once, as they may be while a study is searched.
        packs = [Pack(each, shape.lanes, setup, shape.convolutions) for each in signatures]
        return sum(_seconds_per_step(pack, setup.device) for pack in packs) / len(packs)

    best = choose(seconds, ways, lanes)
    log.info("Packs: %s lanes, convolutions by %s", best.lanes, best.convolutions)
    return best


def _ways(setup: Setup) -> tuple[str, ...]:
    """Return the ways to convolve that differ for the network of a problem."""
    network = setup.problem.build_model(seed=0, dropout=0.0)
    rank = setup.problem.train.first(1).inputs.dim()
    return CONVOLUTIONS if convolves(network, rank) else CONVOLUTIONS[:1]


def choose(
    seconds: Callable[[PackShape], float], ways: Sequence[str], lanes: int | None = None
) -> PackShape:
    """Return the shape of the largest throughput, doubling the lanes while that pays.

    A shape that fails is passed over, as long as another one was measured. An error of the device
    itself (``torch.AcceleratorError``) is raised, since nothing can be computed on it any more,
    unless it says that the memory does not suffice.

    Args:
        seconds: measures a step of a shape; may raise RuntimeError.
        ways: of computing convolutions, to choose from.
        lanes: how many, if that is decided: fewer only if the memory does not suffice.

    Raises:
        RuntimeError: no shape could be measured.
    """
    best: PackShape | None = None
    throughput = 0.0
    count = lanes or 1
    while count <= max(MOST_LANES, lanes or 1):
        throughputs, failures = _throughputs(seconds, [PackShape(count, way) for way in ways])
        if not throughputs and best is None:
            if count == 1 or not any(map(is_out_of_memory, failures)):
                raise failures[-1]
            count //= 2
            log.warning(
                "The device does not have enough memory for so many runs at once: trying %s",
                counted(count, "lane"),
            )
            continue
        if not throughputs or max(throughputs.values()) < LEAST_GAIN * throughput:
            break
        best = max(throughputs, key=lambda shape: throughputs[shape])
        throughput = throughputs[best]
        if lanes is not None:
            break
        count *= 2
    assert best is not None
    return best


def _throughputs(
    seconds: Callable[[PackShape], float], shapes: Sequence[PackShape]
) -> tuple[dict[PackShape, float], list[RuntimeError]]:
    """Return inputs per second of the shapes that can be measured, and why others cannot."""
    throughputs: dict[PackShape, float] = {}
    failures: list[RuntimeError] = []
    for shape in shapes:
        try:
            throughputs[shape] = shape.lanes / seconds(shape)
        except RuntimeError as error:
            if isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error):
                raise
            # Without its frames, which hold the tensors of what has failed.
            failures.append(error.with_traceback(None))
            log.info(
                "Packs of %s lanes, convolutions by %s, cannot be used: %s",
                shape.lanes,
                shape.convolutions,
                str(error).strip().partition("\n")[0] or type(error).__name__,
            )
    return throughputs, failures


def _seconds_per_step(pack: Pack, device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return perf_counter()

    pack.dry_run(WARM_UP)
    began = now()
    # An epoch is planned once, which with many lanes takes as long as many steps.
    pack.dry_steps(STEPS)
    return (now() - began) / STEPS
