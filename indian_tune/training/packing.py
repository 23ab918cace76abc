"""How runs share a device: requested packing, and the resulting shape of packs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import InputError, unknown_name
from indian_tune.training.stacked_forward import CONVOLUTIONS

if TYPE_CHECKING:
    from indian_tune.training.run import Run

EXECUTIONS = ("loop", "stacked")


@dataclass(frozen=True)
class PackShape:
    """The shape of packs, on which the last bits of a run depend.

    Attributes:
        lanes: K, runs that are computed together.
        convolutions: ``grouped`` or ``matmul``, how their spatial convolutions are computed.
        shrink: whether fewer runs than K, as at the end of a study, go into a smaller pack: faster,
            but a run's last bits then depend on how many are beside it.
    """

    lanes: int = 1
    convolutions: str = CONVOLUTIONS[0]
    shrink: bool = False

    def recorded(self) -> dict[str, object]:
        """Return what the ledger keeps of it, where lanes have always been called slots."""
        return {"slots": self.lanes, "convolutions": self.convolutions, "shrink": self.shrink}

    def lanes_for(self, runs: int) -> int:
        """Return the lanes of the pack for some runs: K, or halved while they still fit if shrunk.

        Halving keeps the list of shapes short, since each is captured separately on a GPU.

        Args:
            runs: 1 to K.
        """
        lanes = self.lanes
        while self.shrink and runs <= lanes // 2:
            lanes //= 2
        return lanes


@dataclass(frozen=True)
class Packing:
    """How a trainer is to train its runs: one after the other, or together in packs.

    Attributes:
        lanes: of a pack. Empty ones cost as much as full ones, so that a run's bits do not depend
            on how many others there are. ``None`` for as many as a measurement of a few seconds
            finds fastest; that may come out differently another time, and the bits with it.
        convolutions: how a pack computes them, ``grouped`` or ``matmul``; by default ``grouped``
            with one lane, and what a measurement finds fastest with several.
        shrink: whether fewer runs than lanes go into a smaller pack, of half the lanes, a quarter
            and so on: faster at the end of a study, but a run's last bits then depend on how many
            are beside it.
        execution: ``loop`` trains one run after the other; ``stacked`` trains as many together as
            there are lanes, in captured steps on a GPU. By default ``stacked`` on a GPU, ``loop``
            on a CPU, where packs were measured to be slower.
        typical: runs that stand for those that will be trained, each with the largest batch of its
            kind: the measurement takes their steps.

    Raises:
        InputError: there are fewer than 1 lanes, or a name is not known.
    """

    lanes: int | None = 1
    convolutions: str | None = None
    shrink: bool = False
    execution: str | None = None
    typical: tuple[Run, ...] = ()

    def __post_init__(self) -> None:
        if self.lanes is not None and self.lanes < 1:
            raise InputError(f"lanes = {self.lanes!r} is not allowed: it must be at least 1")
        if self.convolutions is not None and self.convolutions not in CONVOLUTIONS:
            raise InputError(unknown_name("convolutions", self.convolutions, CONVOLUTIONS))
        if self.execution is not None and self.execution not in EXECUTIONS:
            raise InputError(unknown_name("execution", self.execution, EXECUTIONS))
