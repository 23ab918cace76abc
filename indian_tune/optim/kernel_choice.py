"""Chooses between Triton's kernels and torch's operations for packed runs."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

SWITCH = "INDIAN_TUNE_KERNELS"
"""Environment variable: ``torch`` leaves Triton aside."""


def uses_kernels(tensor: Tensor) -> bool:
    """Return whether tensors like this one are computed on by the package's kernels.

    The operations of torch are their specification, and what is used everywhere else.
    """
    return (
        tensor.is_cuda
        and tensor.dtype in (torch.float32, torch.bfloat16)
        and os.environ.get(SWITCH) != "torch"
        and _has_triton()
    )


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
