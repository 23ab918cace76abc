"""Memory of this process and of its device."""

from __future__ import annotations

import ctypes

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
ONE_GIB = 2**30
# `cudaErrorMemoryAllocation`.
CUDA_OUT_OF_MEMORY = 2
# What CUDA's libraries and Triton say in a plain RuntimeError.
_SHORTAGES = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Triton Error [CUDA]: out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the memory of a GPU does not suffice.

    Not all of it is allocated by torch: CUDA itself, its libraries and Triton need some, too, and
    have errors of their own. One of the CUDA runtime is a ``torch.AcceleratorError`` like those
    after which a device is lost, but `cudaErrorMemoryAllocation` is not sticky: nothing has run
    that could have damaged the context, and the next call succeeds if it needs less.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if isinstance(error, torch.AcceleratorError):
        code = getattr(error, "error_code", None)
        return code == CUDA_OUT_OF_MEMORY or "out of memory" in str(error)
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _SHORTAGES)


def keep_freed_memory() -> bool:
    """Let the C library keep memory that is freed, for the whole process.

    A training step on a CPU allocates and frees the same large tensors over and over. As it is
    set up, GNU's C library returns them to the system each time, and to have every page zeroed and
    mapped again costs a tenth of a step of ``nin``. The process then stays as large as it once was.

    Returns:
        Whether it could be done: not with another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, ONE_GIB) and mallopt(M_TRIM_THRESHOLD, 2 * ONE_GIB - 1))
