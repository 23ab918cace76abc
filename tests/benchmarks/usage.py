"""Runs a command and measures the whole tree of processes that it starts."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

POLL_SECONDS = 0.25
# Reading how much memory a process shares takes the kernel milliseconds.
POLLS_PER_MEMORY = 4
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a command took, its descendants included.

    Attributes:
        wall: seconds by the clock.
        processor: seconds of all processes; of each up to the last look at it, a quarter of a
            second before its end at most.
        memory: largest sum of the proportional set sizes, in bytes: shared pages count once.
        killed: whether it was killed because ``until`` said so.
        output: its standard output.
    """

    wall: float
    processor: float
    memory: int
    killed: bool
    output: str


def run(
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    until: Callable[[], bool] | None = None,
) -> Usage:
    """Run a command to its end and leave none of its processes behind.

    Args:
        command: what to run.
        folder: where; its output goes to files there.
        environment: instead of this process's own.
        until: when to kill all processes of the tree at once, as a power cut does.

    Raises:
        RuntimeError: the command failed.
    """
    # Daemons whose parents have gone become our children, so that the tree stays whole.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    busy: dict[tuple[int, int], float] = {}
    memory, killed, polls = 0, False, 0
    others = set(_descendants())
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    with out.open("w") as stdout, err.open("w") as stderr:
        start = time.perf_counter()
        main = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=stdout, stderr=stderr, text=True
        )
        while main.poll() is None:
            tree = _descendants(others)
            busy.update(tree)
            if polls % POLLS_PER_MEMORY == 0:
                memory = max(memory, sum(_proportional_set_size(pid) for pid, _ in tree))
            polls += 1
            if until is not None and until():
                killed = True
                _kill(tree)
                break
            time.sleep(POLL_SECONDS)
        status = main.wait()
        wall = time.perf_counter() - start
    while tree := _descendants(others):
        _kill(tree)
        busy.update(tree)
        time.sleep(0.05)
    # Those that became our children are ours to bury.
    for pid, _ in busy:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    if status != 0 and not killed:
        raise RuntimeError(f"{command} ended with {status}: {err.read_text()[-4000:]}")
    return Usage(wall, sum(busy.values()), memory, killed, out.read_text())


def _descendants(without: Collection[tuple[int, int]] = ()) -> dict[tuple[int, int], float]:
    """Return processor seconds by (process id, time of its start) of all that live below us.

    Args:
        without: those that are left out, with all below them.
    """
    children: dict[int, list[tuple[int, int, float]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                # The name of a program may hold spaces; what follows it does not.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    seconds = (int(fields[11]) + int(fields[12])) / _TICKS
                    row = (int(entry.name), int(fields[19]), seconds)
                    children.setdefault(int(fields[1]), []).append(row)
    found: dict[tuple[int, int], float] = {}
    open_ = [os.getpid()]
    while open_:
        for pid, started, seconds in children.get(open_.pop(), []):
            if (pid, started) not in without:
                found[pid, started] = seconds
                open_.append(pid)
    return found


def _kill(tree: Mapping[tuple[int, int], float]) -> None:
    for pid, _ in tree:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _proportional_set_size(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
