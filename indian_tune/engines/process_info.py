"""Identifies processes, on this host and on others."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from indian_tune.ledger import WorkerRecord

# A zombie works no more, but keeps its id until its parent looks: in a container without an init
# process, for ever.
_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def isolated_python() -> list[str]:
    """Return the command of a Python in which nothing of the current folder hides a module.

    It heeds no variables either, so what forbids to write bytecode is passed on.
    """
    return [sys.executable, "-I", *(["-B"] if sys.dont_write_bytecode else [])]


def host() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def started(pid: int) -> str:
    """Return when a process started.

    A process id is used again, the pair with its start time is not. On Linux these are the kernel's
    ticks since boot: psutil adds the time of the boot, which changes whenever the clock is set.
    Empty where the system does not say (then a reused id looks alive, and its leases expire in time
    instead).
    """
    try:
        if psutil.LINUX:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
            # The second field is the command in parentheses, and may hold blanks.
            return stat.rpartition(")")[2].split()[19]
        return repr(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return ""


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
    try:
        if psutil.Process(worker.pid).status() in _ENDED:
            return True
    except psutil.Error:
        # There, and hidden from us, as a process of another user may be.
        return False
    now = started(worker.pid)
    return "" not in (now, worker.process_started) and now != worker.process_started
