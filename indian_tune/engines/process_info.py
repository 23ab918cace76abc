"""What tells one process from another, on this host and on others."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indian_tune.ledger import WorkerRecord

# States of a process that has ended: a zombie, and one that is about to be gone.
_ENDED = ("Z", "X")


def host() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks since boot.

    A process id is used again, the pair with its start time is not. Empty where the system does
    not say (then a reused id looks alive, and its leases expire in time instead).
    """
    fields = _stat(pid)
    return fields[19] if fields else ""


def is_dead(worker: WorkerRecord) -> bool:
    """Whether a worker of this host is known to be gone; one on another host never is."""
    if worker.host != host():
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    fields = _stat(worker.pid)
    # A zombie works no more, but keeps its id until its parent looks: in a container without an
    # init process, for ever.
    if fields and fields[0] in _ENDED:
        return True
    return (fields[19] if fields else "") != worker.process_started


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on; empty if it says nothing."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    # The field before these is the command in parentheses and may hold spaces.
    return stat.rpartition(")")[2].split()
