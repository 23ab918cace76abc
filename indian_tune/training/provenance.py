"""Provenance of a run: versions, device and arithmetic."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from indian_tune._version import __version__
from indian_tune.commit import source_commit
from indian_tune.training.precision import FLOAT32

if TYPE_CHECKING:
    from indian_tune.training.precision import Precision


@dataclass(frozen=True)
class Provenance:
    """What the bits of a run's metrics depend on beside its configuration and data.

    It names kinds of things and no particular machine, so that two equal machines give equal
    provenance.

    Attributes:
        device: ``cpu`` or ``cuda``.
        device_name: the GPU's name, or the processor's architecture and vector instructions.
        torch_version: of torch, with its build.
        threads: CPU threads within one operation.
        precision: of the arithmetic, as :class:`Precision` names it.
        tf32: whether float32 products were shortened; always false on a CPU.
        execution: how runs are computed, with the shape of packs.
        version: of this package.
        commit: of its source tree when it is run from a checkout, else ``None``.
    """

    device: str
    device_name: str
    torch_version: str
    threads: int
    precision: str
    tf32: bool
    execution: str
    version: str
    commit: str | None

    @classmethod
    def of(
        cls, device: torch.device | str, precision: Precision = FLOAT32, execution: str = "loop"
    ) -> Provenance:
        """Describe what training on a device in this process would use now."""
        device = torch.device(device)
        if device.type == "cuda":
            name = torch.cuda.get_device_name(device)
        else:
            name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        return cls(
            device=device.type,
            device_name=name,
            torch_version=str(torch.__version__),
            threads=torch.get_num_threads(),
            precision=precision.name,
            execution=execution,
            version=__version__,
            commit=source_commit(),
            tf32=precision.tf32 and device.type == "cuda",
        )
