"""Runs of one signature packed together, K at a time."""

from __future__ import annotations

import logging
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from indian_tune.optim.kernel_choice import uses_kernels
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.training.loop import Loop
from indian_tune.training.pack import Pack, PackSignature
from indian_tune.training.packable import packing_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.training.live import LiveRun, Setup
    from indian_tune.training.pack_evaluation import LaneMeasures
    from indian_tune.training.packing import PackShape
    from indian_tune.training.run import EpochRecord

log = logging.getLogger(__name__)


class Stacked:
    """Runs in packs.

    Runs that cannot share a pack (of different families, kinds of weight decay, batch sizes or
    dropout rates) go into different ones. Lanes that the caller leaves empty are computed all the
    same, unless ``shape.shrink``: a pack that shrinks changes the bits of the runs that remain.
    What cannot be packed at all, an optimizer of torch's or a network that draws from the global
    generator, is trained in a loop, and the log says why.

    Args:
        setup: what the runs share.
        shape: of the packs.
    """

    def __init__(self, setup: Setup, shape: PackShape) -> None:
        self._setup = setup
        self._shape = shape
        self._loop = Loop(setup)
        self._packs: dict[tuple[PackSignature, int], Pack | None] = {}

    @property
    def description(self) -> str:
        """See :class:`Execution`."""
        shape = self._shape
        # Recorded with every run, where lanes have always been called slots.
        lanes = f"{shape.lanes} slots" + " or fewer" * shape.shrink
        sample = torch.empty(0, device=self._setup.device, dtype=self._setup.precision.dtype)
        kernels = ", Triton" if uses_kernels(sample) else ""
        return f"stacked, {lanes}, {shape.convolutions}{kernels}"

    def advance(self, lives: Sequence[LiveRun]) -> list[EpochRecord]:
        """Train an epoch of each run and measure it; see :class:`Execution`."""
        groups: dict[PackSignature, list[LiveRun]] = {}
        for live in lives:
            groups.setdefault(PackSignature.of(live.run, live.config), []).append(live)
        lanes = self._shape.lanes
        packs = [
            (signature, alike[start : start + lanes])
            for signature, alike in groups.items()
            for start in range(0, len(alike), lanes)
        ]
        shapes = [(signature, self._shape.lanes_for(len(members))) for signature, members in packs]
        # Memory is for the packs that are needed now.
        self._packs = {shape: self._packs[shape] for shape in shapes if shape in self._packs}
        records: dict[str, EpochRecord] = {}
        for shape, (_, members) in zip(shapes, packs, strict=True):
            done = self._train(self._pack(*shape), members)
            records.update((record.key, record) for record in done)
        return [records[live.run.key] for live in lives]

    def _train(self, pack: Pack | None, lives: Sequence[LiveRun]) -> list[EpochRecord]:
        if pack is None:
            return self._loop.advance(lives)
        began = perf_counter()
        pack.train_epoch(lives)
        measured = pack.measure(lives)
        share = (perf_counter() - began) / len(lives)
        if measured is None:
            return [self._finish(live, share) for live in lives]
        return [self._finish(live, share, own) for live, own in zip(lives, measured, strict=True)]

    def _finish(
        self, live: LiveRun, share: float, measured: LaneMeasures | None = None
    ) -> EpochRecord:
        began, device = perf_counter(), self._setup.device
        with seeded_global_generator("epoch", live.run.seed, live.epoch + 1, device=device):
            record = live.finish_epoch(self._setup, measured)
        return replace(record, seconds=share + perf_counter() - began)

    def _pack(self, signature: PackSignature, lanes: int) -> Pack | None:
        """The pack for runs of a signature; ``None`` if they can only be looped."""
        if (signature, lanes) not in self._packs:
            self._packs[signature, lanes] = self._new_pack(signature, lanes)
        return self._packs[signature, lanes]

    def _new_pack(self, signature: PackSignature, lanes: int) -> Pack | None:
        fault = packing_fault(signature, self._setup, self._shape.convolutions)
        if fault is not None:
            log.warning("%s", fault)
            return None
        return Pack(signature, lanes, self._setup, self._shape.convolutions)
