"""Reduces the time to the first step of a process."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch.optim import Optimizer

from indian_tune.optim.groups import GroupedOptimizer
from indian_tune.training.memory import keep_freed_memory

# The methods of torch's optimizers that import its compiler, only to tell it to leave them alone.
_METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def skip_compiler_import() -> bool:
    """Keep torch's optimizers from importing torch's compiler, for the whole process.

    Making one imports ``torch._dynamo``, which takes a second of the processor, only to keep the
    compiler away from methods that nobody compiles here. The mark set here is the one that torch
    looks for before it does so. A step of torch's own optimizers imports it all the same.

    Returns:
        Whether it could be done: not with a torch that is built otherwise, which only starts
        slower.
    """
    done = True
    for name in _METHODS:
        method: Any = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if method is None:
            done = False
        elif not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)
    return done


def import_compiler_for(optimizer: Optimizer) -> None:
    """Import torch's compiler now, if the first step of an optimizer would.

    The time of an import, seconds on a busy machine, is no part of the time of an epoch: a budget
    of seconds would charge it to the arms that torch's own optimizers train.
    """
    if not isinstance(optimizer, GroupedOptimizer):
        importlib.import_module("torch._dynamo")


def start_torch(threads: int) -> None:
    """Set this process up to train; nothing else sets it up.

    Args:
        threads: CPU threads within one operation.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    skip_compiler_import()
