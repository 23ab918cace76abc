"""Trains runs on a device: exact to the bit, resumable, one record per run and epoch.

What loads torch is looked up on first use, so that what was recorded can be read without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from indian_tune.training.run import EpochRecord, Run

if TYPE_CHECKING:
    from indian_tune.training.checkpoint import Checkpoint, CheckpointFolder
    from indian_tune.training.device import usable_device
    from indian_tune.training.global_state import GlobalState
    from indian_tune.training.loop import SingleExampleError
    from indian_tune.training.loop_trainer import LoopTrainer
    from indian_tune.training.memory import is_out_of_memory, keep_freed_memory
    from indian_tune.training.own_loop import LoopRun
    from indian_tune.training.own_report import LoopError
    from indian_tune.training.packing import Packing, PackShape
    from indian_tune.training.precision import Precision
    from indian_tune.training.provenance import Provenance
    from indian_tune.training.startup import skip_compiler_import, start_torch
    from indian_tune.training.trainer import Trainer

__all__ = [
    "Checkpoint",
    "CheckpointFolder",
    "EpochRecord",
    "GlobalState",
    "LoopError",
    "LoopRun",
    "LoopTrainer",
    "PackShape",
    "Packing",
    "Precision",
    "Provenance",
    "Run",
    "SingleExampleError",
    "Trainer",
    "is_out_of_memory",
    "keep_freed_memory",
    "skip_compiler_import",
    "start_torch",
    "usable_device",
]

_LATER = {
    "Checkpoint": "checkpoint",
    "CheckpointFolder": "checkpoint",
    "GlobalState": "global_state",
    "LoopError": "own_report",
    "LoopRun": "own_loop",
    "LoopTrainer": "loop_trainer",
    "PackShape": "packing",
    "Packing": "packing",
    "Precision": "precision",
    "Provenance": "provenance",
    "SingleExampleError": "loop",
    "Trainer": "trainer",
    "is_out_of_memory": "memory",
    "keep_freed_memory": "memory",
    "skip_compiler_import": "startup",
    "start_torch": "startup",
    "usable_device": "device",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
