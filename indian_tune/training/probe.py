"""Measures which shape of packs is fastest on a device."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from indian_tune.optim.families import FAMILIES
from indian_tune.optim.stacked import StepSignature
from indian_tune.training.pack import Pack, PackSignature
from indian_tune.training.packing import PackShape
from indian_tune.training.stacked_forward import CONVOLUTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indian_tune.training.live import Setup

log = logging.getLogger(__name__)

BATCH_SIZE = 32
MOST_LANES = 64
LEAST_GAIN = 1.1
"""Throughput that twice as many lanes must bring, as a factor."""
WARM_UP = 2
STEPS = 10
# The runs that are timed, of the first family there is; the optimizer is a small part of a step.
FAMILY = next(iter(FAMILIES.values()))
CONFIG = FAMILY.complete(dict.fromkeys(FAMILY.rates, 1.0))
SIGNATURE = PackSignature(StepSignature.of(FAMILY.name, CONFIG), BATCH_SIZE, dropout=0.5)


def probe(setup: Setup, *, lanes: int | None = None, convolutions: str | None = None) -> PackShape:
    """Return the shape that trains most inputs per second here.

    The number of lanes is doubled until that brings less than 10 % or the memory does not suffice.
    Times vary, so two measurements may differ where two shapes are about equally fast: for bits
    that are to be repeated elsewhere, give both numbers.

    Args:
        setup: what the runs will share.
        lanes: how many, if that is decided.
        convolutions: how they are computed, if that is decided.

    Raises:
        RuntimeError: torch cannot compute this network for several runs at once, or not even one
            lane fits into the memory.
    """

    def seconds(shape: PackShape) -> float:
        pack = Pack(SIGNATURE, shape.lanes, setup, shape.convolutions)
        return _seconds_per_step(pack, setup.device)

    ways = CONVOLUTIONS if convolutions is None else (convolutions,)
    best = choose(seconds, ways, lanes)
    log.info(
        "Packs on %s: %s lanes, convolutions by %s", setup.device, best.lanes, best.convolutions
    )
    return best


def choose(
    seconds: Callable[[PackShape], float], ways: Sequence[str], lanes: int | None = None
) -> PackShape:
    """Return the shape of the largest throughput, doubling the lanes while that pays.

    Args:
        seconds: measures a step of a shape; may raise ``torch.OutOfMemoryError``.
        ways: of computing convolutions, to choose from.
        lanes: how many, if that is decided.
    """
    if lanes is not None:
        timed = {PackShape(lanes, way): seconds(PackShape(lanes, way)) for way in ways}
        return min(timed, key=lambda shape: timed[shape])
    best = PackShape(1, ways[0])
    throughput = 0.0
    lanes = 1
    while lanes <= MOST_LANES:
        throughputs = {}
        for way in ways:
            shape = PackShape(lanes, way)
            try:
                throughputs[shape] = lanes / seconds(shape)
            except torch.OutOfMemoryError:
                if lanes == 1 and way == ways[-1] and not throughputs:
                    raise
        if not throughputs or max(throughputs.values()) < LEAST_GAIN * throughput:
            break
        best = max(throughputs, key=lambda shape: throughputs[shape])
        throughput = throughputs[best]
        lanes *= 2
    return best


def _seconds_per_step(pack: Pack, device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return perf_counter()

    pack.dry_run(WARM_UP)
    began = now()
    pack.dry_run(STEPS)
    return (now() - began) / STEPS
