"""Chooses between Triton's kernels and torch's operations for packed runs."""

from __future__ import annotations

import importlib.util
import logging
import os
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

log = logging.getLogger(__name__)

SWITCH = "INDIAN_TUNE_KERNELS"
"""Environment variable: ``torch`` leaves Triton aside."""

_assumed: ContextVar[bool | None] = ContextVar("kernels_assumed", default=None)
# Why they were found wrong in this process.
_faults: list[str] = []


def uses_kernels(tensor: Tensor) -> bool:
    """Return whether tensors like this one are computed on by the package's kernels.

    The operations of torch are their specification, and what is used everywhere else.
    """
    assumed = _assumed.get()
    return (
        (tensor.is_cuda if assumed is None else assumed)
        and tensor.dtype in (torch.float32, torch.bfloat16)
        and os.environ.get(SWITCH) != "torch"
        and _has_triton()
        and (assumed is not None or (not _faults and _starts()))
    )


def leave_aside(fault: str) -> None:
    """Compute with the operations of torch from now on in this process, and log why.

    Args:
        fault: what the kernels do wrong.
    """
    _faults.append(fault)
    log.warning(
        "The package's kernels do not work on this GPU (%s), so packed runs use the slower "
        "operations of torch. Please report this with the output of `indian-tune doctor`",
        fault,
    )


@contextmanager
def kernels_assumed(used: bool = True) -> Iterator[None]:
    """Use the kernels for tensors of any device within the block, or for none.

    For counting operations that are not computed, and for comparing both ways. Without Triton no
    kernels are used.

    Args:
        used: whether kernels are used.
    """
    before = _assumed.set(used)
    try:
        yield
    finally:
        _assumed.reset(before)


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def launch_fault() -> str | None:
    """Return why Triton cannot start a kernel on this machine's GPU, ``None`` if it can.

    It compiles what starts its kernels with a C compiler.
    """
    if not _has_triton():
        return "Triton is not installed"
    from triton.runtime import driver

    try:
        driver.active.get_current_device()
    except Exception as error:  # noqa: BLE001 - no compiler, no headers, or a driver that is too old
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None


@cache
def _starts() -> bool:
    fault = launch_fault()
    if fault is not None:
        log.warning(
            "Triton cannot start kernels (%s), so packed runs use the slower operations of torch. "
            "Install a C compiler such as gcc, or set %s=torch to accept this",
            fault,
            SWITCH,
        )
    return fault is None
