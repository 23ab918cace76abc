"""Identifies processes, on this host and on others."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from indian_tune.errors import InputError

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


def check_not_daemonic(instead: str) -> None:
    """Check that this process may start others.

    Args:
        instead: what its user can do otherwise.

    Raises:
        InputError: it is daemonic, and Python lets it have no children.
    """
    if multiprocessing.current_process().daemon:
        raise InputError(
            "this process is daemonic, as the workers of multiprocessing.Pool are, and cannot "
            f"start worker processes: {instead}, or use a process that is not daemonic "
            "(concurrent.futures.ProcessPoolExecutor)"
        )


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
