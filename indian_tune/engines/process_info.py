"""What tells one process from another, on this host and on others."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indian_tune.ledger import WorkerRecord


def host() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks since boot.

    A process id is used again, the pair with its start time is not. Empty where the system does
    not say (then a reused id looks alive, and its leases expire in time instead).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The second field is the command in parentheses and may hold spaces.
    return stat.rpartition(")")[2].split()[19]


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
    return started(worker.pid) != worker.process_started
