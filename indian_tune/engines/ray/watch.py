"""Detects that a Ray cluster is gone.

Ray ends a driver, with a message of its own, when its GCS has been silent for a minute; where all
nodes are dead, it waits for new ones without end.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import socket
import sys
import threading
from typing import TYPE_CHECKING

import psutil
import ray

from indian_tune.engines.interrupt import end_at_once
from indian_tune.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_SECONDS = 1.0
# How long the GCS may be silent: less than the minute after which Ray ends this process.
PATIENCE_SECONDS = 15.0
# How long the thread that drives may take to notice: less than what is left of that minute.
STUCK_SECONDS = 15.0


class _ClusterLost(BaseException):
    """Raised in the thread that drives, wherever it is; no handler of Ray's may take it."""


class ClusterWatch:
    """Watches the cluster that this process is connected to.

    Args:
        started: the processes of the cluster, if it is this process's own.
        go_on: the command that continues, told where this process has to be ended.
    """

    def __init__(self, started: list[psutil.Process], go_on: str) -> None:
        self._started = started
        self._go_on = go_on
        self.lost: str | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch within the block, which is left when the cluster is gone.

        Raises:
            EngineError: it is.
        """
        stopped = threading.Event()
        driving = threading.get_ident()

        def watch() -> None:
            self.lost = self._await_loss(stopped)
            if self.lost is not None:
                raised = ctypes.py_object(_ClusterLost)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(driving), raised)
                # Ray's own code may keep that thread in C until it ends this process.
                if not stopped.wait(STUCK_SECONDS):
                    self._end_stuck()

        watcher = threading.Thread(target=watch, name="cluster", daemon=True)
        watcher.start()
        try:
            try:
                yield
            finally:
                stopped.set()
                watcher.join()
        except _ClusterLost:
            raise EngineError(self._message) from None

    def disconnect(self) -> None:
        """Leave the cluster, and end it if it is this process's own."""
        if self.lost is None:
            if self._started:
                _kill_autoscaler()
            ray.shutdown()
            return
        # Ray's own ways to end ask the GCS, wait a minute, and end this process with a message of
        # theirs.
        atexit.unregister(ray.shutdown)
        atexit.register(end_at_once, 1)
        self._kill_started()

    def _end_stuck(self) -> None:
        print(f"Error: {self._message}", file=sys.stderr)
        if self._go_on:
            print(f"Continue with:\n{self._go_on}", file=sys.stderr)
        self._kill_started()
        end_at_once(1)

    @property
    def _message(self) -> str:
        return f"the Ray cluster was lost: {self.lost}. The records are kept"

    def _kill_started(self) -> None:
        """Kill the processes of an own cluster, and what these have started."""
        for process in self._started:
            with contextlib.suppress(psutil.Error):
                for each in (*process.children(recursive=True), process):
                    with contextlib.suppress(psutil.Error):
                        each.kill()

    def _await_loss(self, stopped: threading.Event) -> str | None:
        """Return what is lost; ``None`` when the watch ends before anything is."""
        if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
            # A client's server watches the cluster, and Ray tells the client of its end.
            return None
        address: str = ray.get_runtime_context().gcs_address
        silent = 0.0
        while not stopped.wait(LOOK_SECONDS):
            for process in self._started:
                with contextlib.suppress(psutil.Error):
                    if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                        continue
                return f"one of its processes has ended ({process.pid})"
            if not _listens(address):
                silent += LOOK_SECONDS
                if silent >= PATIENCE_SECONDS:
                    return f"its GCS at {address} does not answer"
            elif not any(node["Alive"] for node in ray.nodes()):  # type: ignore[no-untyped-call]
                return "none of its nodes is alive"
            else:
                silent = 0.0
        return None


def _kill_autoscaler() -> None:
    """Kill the monitor of this process's own cluster, which never scales.

    Ray asks it to end, and it does not answer: Ray would wait for a second before it kills it.
    """
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("/autoscaler/" in part for part in child.cmdline()):
                child.kill()


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=LOOK_SECONDS).close()
    except OSError:
        return False
    return True
