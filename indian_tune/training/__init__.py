"""Trains runs on a device: exact to the bit, resumable, one record per run and epoch."""

from indian_tune.training.checkpoint import Checkpoint, CheckpointFolder
from indian_tune.training.memory import keep_freed_memory
from indian_tune.training.precision import Precision
from indian_tune.training.probe import Packing
from indian_tune.training.provenance import Provenance
from indian_tune.training.run import EpochRecord, Run
from indian_tune.training.startup import spare_compiler
from indian_tune.training.trainer import Trainer

__all__ = [
    "Checkpoint",
    "CheckpointFolder",
    "EpochRecord",
    "Packing",
    "Precision",
    "Provenance",
    "Run",
    "Trainer",
    "keep_freed_memory",
    "spare_compiler",
]
