"""Memory allocator settings of this process."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
ONE_GIB = 2**30


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
