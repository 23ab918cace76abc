"""Settings that a worker needs to join a study; sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.ledger import Phase

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class WorkerSettings:
    """Where a worker finds its study, and what it trains on.

    Attributes:
        storage: full address of the database, password included: never to be shown.
        study: name of a registered study.
        artifacts: folder of the checkpoints; workers that share a study must share it too.
        data_dir: folder of the data sets; ``None`` for the default.
        device: ``cpu`` or ``cuda:N``, as this machine counts its GPUs.
        torch_device: the same device as torch calls it in a process that sees no other GPU;
            ``None`` where it has the same name.
        lanes: runs that a worker trains side by side; ``None`` for one on a CPU, and on a GPU for
            as many as a measurement of a few seconds finds fastest.
        shrink: whether fewer runs than lanes, as at the end of a study, go into a smaller pack.
        threads: CPU threads within one operation. One by default, because sums are split by
            thread: with another number a run's metrics differ in their last bits.
        until: the last phase to work on.
        freeze_anyway: whether winners are frozen although tune trials have failed.
        driver: file descriptor that ends with the process that has started this one for a worker
            alone, which may then be killed; ``None`` where a process does other things, too.
        imports: folders in which own code is looked for; ``None`` if none may be imported.
        in_hand: what the searching program has in hand, pickled by reference, for workers that are
            other processes.
        one_by_one: whether one run is trained at a time, also of a trial of several seeds.
    """

    storage: str
    study: str
    artifacts: Path
    data_dir: Path | None = None
    device: str = "cpu"
    torch_device: str | None = None
    lanes: int | None = None
    shrink: bool = False
    threads: int = 1
    until: Phase = Phase.CONFIRM
    freeze_anyway: bool = False
    driver: int | None = None
    imports: tuple[str, ...] | None = None
    in_hand: bytes | None = None
    one_by_one: bool = False
