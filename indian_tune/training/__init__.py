"""Trains runs on a device: exact to the bit, resumable, one record per run and epoch.

What loads torch is looked up on first use, so that what was recorded can be read without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "checkpoint": ("Checkpoint", "CheckpointFolder"),
        "device": ("usable_device",),
        "global_state": ("GlobalState",),
        "loop": ("SingleExampleError",),
        "loop_trainer": ("LoopTrainer",),
        "memory": ("is_out_of_memory", "keep_freed_memory"),
        "own_loop": ("LoopRun",),
        "own_report": ("LoopError",),
        "packing": ("PackShape", "Packing"),
        "precision": ("Precision",),
        "provenance": ("Provenance",),
        "startup": ("skip_compiler_import", "start_torch"),
        "trainer": ("Trainer",),
    },
)
