"""Starts workers from one process that has loaded torch.

A forked worker needs no seconds of imports, and shares the memory of what was imported. The server
itself computes nothing: a fork inherits the locks of threads that do not exist in it, and CUDA
cannot be used after a fork.

The standard library's server is not used: the whole program shares it, with the environment of its
first use; it looks for modules in the current folder first; and it ends by SIGTERM, which a service
manager sends to all processes of a job, so that workers would be taken for dead.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import multiprocessing
import os
import pickle
import select
import signal
import socket
import struct
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any

import psutil

from indian_tune.engines import process_info

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.context import ForkProcess, SpawnProcess

# Elsewhere a fork of a process that has loaded frameworks is not safe, or impossible.
AVAILABLE = sys.platform == "linux"
# What a worker loads before its first claim.
MODULES = (
    *("indian_tune.engines.local.processes", "indian_tune.engines.worker"),
    *("indian_tune.problems.splits", "indian_tune.problems.tasks.classification"),
    *("indian_tune.training.global_state", "indian_tune.training.trainer"),
    # What Optuna's tables need, which it imports at first use.
    *("alembic.command", "optuna.storages._rdb.models"),
)
# How long the server may take to end, and a killed process to be gone.
END_SECONDS = 5.0
LOOK_SECONDS = 0.05

# Number of the worker, and size of what follows; or the request to end everything.
_REQUEST = struct.Struct("!qq")
_END = _REQUEST.pack(-1, 0)
# Number of the worker; whether it has ended; its exit status, or else its process id.
_REPLY = struct.Struct("!q?q")


class ForkedProcess:
    """A process that was asked of a server; has the attributes of one of ``multiprocessing``."""

    def __init__(self, server: ForkServer) -> None:
        self._server = server
        self._started = ""
        self._status: int | None = None
        self.pid: int | None = None

    @property
    def exitcode(self) -> int | None:
        """Exit status, or minus the signal that ended it; ``None`` while it runs."""
        self._server.listen()
        return self._status

    def is_alive(self) -> bool:
        """Whether it runs, or is still to be forked."""
        return self.exitcode is None and (self.pid is None or self._is_there())

    def kill(self) -> None:
        """Kill it, if it is there."""
        if self.pid is not None and self._is_there():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended.

        Args:
            timeout: seconds to wait at most; ``None`` for as long as it takes.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_alive() and (deadline is None or time.monotonic() < deadline):
            time.sleep(LOOK_SECONDS)

    def forked(self, pid: int) -> None:
        """Take in that it is there."""
        self.pid, self._started = pid, process_info.started(pid)

    def ended(self, status: int) -> None:
        """Take in how it ended."""
        self._status = status

    def end_unseen(self) -> None:
        """Kill it where no server is left to tell how it ends; wait until it is gone."""
        self.kill()
        deadline = time.monotonic() + END_SECONDS
        while self._is_there() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        self._status = -signal.SIGKILL

    def _is_there(self) -> bool:
        """Whether its process id is its own, and no zombie's."""
        if self.pid is None or process_info.started(self.pid) != self._started:
            return False
        try:
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


class ForkServer:
    """A process that forks others, and ends with this one, whatever happens to it.

    Args:
        modules: that it imports.
    """

    def __init__(self, modules: Sequence[str] = MODULES) -> None:
        self._processes: list[ForkedProcess] = []
        self._socket, theirs = socket.socketpair()
        self._process: SpawnProcess = multiprocessing.get_context("spawn").Process(
            target=_serve, args=(theirs, modules)
        )
        with theirs:
            self._process.start()

    @property
    def alive(self) -> bool:
        """Whether processes can be asked of it."""
        self.listen()
        return self._socket.fileno() >= 0

    def start(
        self, target: Callable[..., None], args: Sequence[Any], ends: Sequence[Connection]
    ) -> ForkedProcess:
        """Start a process that calls a function.

        Args:
            target: the function; travels to the process by name.
            args: its first arguments; they are pickled.
            ends: its last arguments, of which it gets copies.
        """
        said = bytes(ForkingPickler.dumps((target, tuple(args))))
        process = ForkedProcess(self)
        self._processes.append(process)
        head = _REQUEST.pack(len(self._processes) - 1, len(said))
        try:
            socket.send_fds(self._socket, [head], [end.fileno() for end in ends])
            self._socket.sendall(said)
        except OSError:
            self._lose()
        return process

    def listen(self) -> None:
        """Take in what the server has told so far; returns at once."""
        while self._socket.fileno() >= 0 and select.select([self._socket], [], [], 0)[0]:
            try:
                told = self._socket.recv(_REPLY.size)
            except OSError:
                told = b""
            if len(told) < _REPLY.size:
                self._lose()
                return
            number, has_ended, value = _REPLY.unpack(told)
            process = self._processes[number]
            (process.ended if has_ended else process.forked)(value)

    def end(self) -> None:
        """End the server and all that it has started."""
        if self._processes:
            with contextlib.suppress(OSError):
                self._socket.sendall(_END)
            self._process.join(END_SECONDS)
        # Nobody waits for the imports of a server that was not used.
        self._process.kill()
        self._process.join()
        self.listen()
        self._lose()

    def _lose(self) -> None:
        self._socket.close()
        for process in self._processes:
            if process.exitcode is None:
                process.end_unseen()


def _serve(requests: socket.socket, modules: Sequence[str]) -> None:
    """Fork a process for each request, until the other side is closed."""
    # Ctrl-C and a service manager's request reach the whole group; the driver answers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for module in modules:
        # What cannot be loaded is for a worker to tell, in whose log it belongs.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    # The collector would write to all pages that the workers share.
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError):
        _Server(requests).loop()
    # Workers that are left see for themselves that their driver is gone.
    os._exit(0)


class _Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, ForkProcess] = {}
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def loop(self) -> None:
        while True:
            ready = select.select([self._requests.fileno(), self._woken], [], [])[0]
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._tell_ends()
            if self._requests.fileno() in ready:
                head, ends, _, _ = socket.recv_fds(self._requests, _REQUEST.size, 8)
                if len(head) < _REQUEST.size:
                    return
                if head == _END:
                    self._kill_all()
                    return
                number, size = _REQUEST.unpack(head)
                said = bytearray()
                while len(said) < size:
                    more = self._requests.recv(size - len(said))
                    if not more:
                        return
                    said += more
                self._fork(number, said, ends)

    def _fork(self, number: int, said: bytearray, ends: Sequence[int]) -> None:
        process = multiprocessing.get_context("fork").Process(
            target=self._run, args=(said, ends), daemon=True
        )
        process.start()
        self._running[number] = process
        for end in ends:
            os.close(end)
        self._requests.send(_REPLY.pack(number, False, process.pid))

    def _tell_ends(self) -> None:
        for number, process in list(self._running.items()):
            if process.exitcode is not None:
                del self._running[number]
                self._requests.send(_REPLY.pack(number, True, process.exitcode))

    def _kill_all(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.join()
        self._tell_ends()

    def _run(self, said: bytearray, ends: Sequence[int]) -> None:
        """Do what was asked for, in the forked process."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._requests.close()
        for end in (self._woken, self._wake):
            os.close(end)
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None:
            # Like Python's own state, which a fork seeds by itself: not the same in every worker.
            numpy_random.seed()
        try:
            # Written by the process that has started the server.
            target, args = pickle.loads(said)  # noqa: S301
            target(*args, *map(Connection, ends))
        finally:
            # A fork leaves them out, and a model may have registered some.
            atexit._run_exitfuncs()
