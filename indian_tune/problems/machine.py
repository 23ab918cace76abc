"""The memory of this machine, and whether data and a network fit into it."""

from __future__ import annotations

from pathlib import Path

from indian_tune.errors import InputError

CGROUP = Path("/sys/fs/cgroup")
# Copies of the weights that are trained: themselves, their gradients, one state of the optimizer.
COPIES = 3


def memory() -> tuple[int, int] | None:
    """Return the bytes of memory that are free and that there are, limits of a container included.

    ``None`` where the system does not say.
    """
    import psutil

    try:
        machine = psutil.virtual_memory()
    except (OSError, KeyError):
        return None
    free, total = machine.available, machine.total
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return free, total
    # Pages of files that were read count as used there, and are given back when they are wanted.
    return min(free, max(0, limit - used)), min(total, limit)


def check_fits(needed: int, what: str, advice: str) -> None:
    """Check that there is as much memory as something needs.

    Args:
        needed: bytes, at least; other programs and activations come on top.
        what: needs them, in the plural, for the message.
        advice: what to do about it.

    Raises:
        InputError: this machine has less; the message names both sizes.
    """
    sizes = memory()
    if sizes is not None and needed > sizes[1]:
        raise InputError(
            f"{what} need at least {needed / 1e9:,.0f} GB of memory, and this machine has "
            f"{sizes[1] / 1e9:,.0f} GB: {advice}"
        )
