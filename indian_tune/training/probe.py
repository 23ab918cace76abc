"""Finds by trial how runs are packed best on a device."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from indian_tune.errors import InputError, unknown_name
from indian_tune.optim.families import FAMILIES
from indian_tune.optim.stacked import Structure
from indian_tune.training.pack import Pack, PackKind
from indian_tune.training.stacked_forward import CONVOLUTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indian_tune.problems.problem import Problem
    from indian_tune.training.live import Feeds
    from indian_tune.training.precision import Precision

log = logging.getLogger(__name__)

BATCH_SIZE = 32
MOST_SLOTS = 64
LEAST_GAIN = 1.1
"""Throughput that twice as many slots must bring, as a factor."""
WARM_UP = 2
STEPS = 10
# The runs that are timed, of the first family there is; the optimizer is a small part of a step.
FAMILY = next(iter(FAMILIES.values()))
CONFIG = FAMILY.complete(dict.fromkeys(FAMILY.rates, 1.0))
KIND = PackKind(Structure.of(FAMILY.name, CONFIG), BATCH_SIZE, dropout=0.5)


@dataclass(frozen=True)
class Packing:
    """The shape of packs, on which the last bits of a run depend.

    Attributes:
        slots: K, runs that are computed together.
        convolutions: ``grouped`` or ``matmul``, how their spatial convolutions are computed.
        shrink: whether fewer runs than K, as at the end of a study, go into a smaller pack: faster,
            but a run's last bits then depend on how many are beside it.

    Raises:
        InputError: a value is not allowed.
    """

    slots: int = 1
    convolutions: str = "grouped"
    shrink: bool = False

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InputError(f"slots = {self.slots!r} is not allowed: 1 or more is")
        if self.convolutions not in CONVOLUTIONS:
            raise InputError(unknown_name("convolutions", self.convolutions, CONVOLUTIONS))

    def slots_for(self, runs: int) -> int:
        """Return the slots of the pack for some runs: K, or halved while they still fit if shrunk.

        Halving keeps the list of shapes short, since each is captured anew on a GPU.

        Args:
            runs: 1 to K.
        """
        slots = self.slots
        while self.shrink and runs <= slots // 2:
            slots //= 2
        return slots


def probe(
    problem: Problem,
    feeds: Feeds,
    device: torch.device,
    precision: Precision,
    *,
    slots: int | None = None,
    convolutions: str | None = None,
) -> Packing:
    """Return the packing that trains most images per second here.

    The number of slots is doubled until that brings less than 10 % or the memory does not suffice.
    Times vary, so two probes may differ where two packings are about equally fast: for bits that
    are to be repeated elsewhere, give both numbers.

    Args:
        problem: builds the network.
        feeds: what will be trained on.
        device: where.
        precision: of the arithmetic.
        slots: how many, if that is decided.
        convolutions: how they are computed, if that is decided.

    Raises:
        InputError: a value that was given is not allowed.
        RuntimeError: torch cannot compute this network for several runs at once, or not even one
            slot fits into the memory.
    """

    def seconds(packing: Packing) -> float:
        pack = Pack(KIND, packing.slots, problem, feeds, device, precision, packing.convolutions)
        return _seconds_per_step(pack, device)

    ways = CONVOLUTIONS if convolutions is None else (convolutions,)
    best = choose(seconds, ways, slots)
    log.info("Packs on %s: %s slots, convolutions by %s", device, best.slots, best.convolutions)
    return best


def choose(
    seconds: Callable[[Packing], float], ways: Sequence[str], slots: int | None = None
) -> Packing:
    """Return the packing of the largest throughput, doubling the slots while that pays.

    Args:
        seconds: measures a step of a packing; may raise ``torch.OutOfMemoryError``.
        ways: of computing convolutions, to choose from.
        slots: how many, if that is decided.
    """
    if slots is not None:
        timed = {Packing(slots, way): seconds(Packing(slots, way)) for way in ways}
        return min(timed, key=lambda packing: timed[packing])
    best = Packing(1, ways[0])
    throughput = 0.0
    slots = 1
    while slots <= MOST_SLOTS:
        found = {}
        for way in ways:
            packing = Packing(slots, way)
            try:
                found[packing] = slots / seconds(packing)
            except torch.OutOfMemoryError:
                if slots == 1 and way == ways[-1] and not found:
                    raise
        if not found or max(found.values()) < LEAST_GAIN * throughput:
            break
        best = max(found, key=lambda packing: found[packing])
        throughput = found[best]
        slots *= 2
    return best


def _seconds_per_step(pack: Pack, device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return perf_counter()

    pack.rehearse(WARM_UP)
    began = now()
    pack.rehearse(STEPS)
    return (now() - began) / STEPS
