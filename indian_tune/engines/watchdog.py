"""Messages between a worker and its keeper: only progress renews a lease.

See `keeper` for why that is another process, and what it does to a worker that hangs.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indian_tune.engines.interrupt import Stalled
from indian_tune.engines.keeper import SIGNAL, STALLED
from indian_tune.engines.process_info import isolated_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

# Seconds that anything may take where the study file does not say how long an epoch may.
LEAST_SECONDS = 600.0
# How long a worker goes on when its driver is gone: time for an epoch, then it is killed.
ORPHAN_SECONDS = 30.0
# How long a keeper may take to end, and to record that a trial was given up.
_END_SECONDS, _RECORD_SECONDS = 3.0, 30.0


class Watchdog:
    """A worker's line to its keeper.

    Args:
        kill: whether the process is a worker's own, and is killed when it hangs.
        driver: descriptor that ends with the process that has started the worker, if there is one.
    """

    def __init__(self, *, kill: bool, driver: int | None = None) -> None:
        self._kill = kill
        self._driver = driver
        self._limit: float | None = None
        self._last: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._ended = False
        self._stalled = False
        # No name: whatever becomes of this process, nothing stays behind.
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end
        self._keeper = self._start()

    def at(
        self,
        what: str,
        trials: Mapping[int, str] | None = None,
        *,
        runs: int = 1,
        epoch: bool = True,
    ) -> None:
        """Tell that something is begun that may hang, and that what was begun before is done.

        Args:
            what: for people, such as "epoch 3 of indian/4".
            trials: paths, by id, of those that hang if it does; all that are held if ``None``.
            runs: how many share the epoch.
            epoch: whether it is what ``protocol.epoch_timeout`` is about; other things have at
                least as long as they have by default.
        """
        limit = self._limit
        if limit is not None and not epoch:
            limit = max(limit, LEAST_SECONDS)
        chosen = None if trials is None else list(trials.items())
        self._send("at", {"at": what, "trials": chosen, "runs": runs, "limit": limit})

    def idle(self) -> None:
        """Tell that nothing is under way that could hang."""
        self._send("at", {"at": None})

    def joined(
        self, *, storage: str, study: int, worker: str, lease: float, limit: float | None
    ) -> None:
        """Tell whose leases are to be kept.

        Args:
            storage: address of the database, password included.
            study: its id.
            worker: its id.
            lease: seconds that a lease lasts.
            limit: seconds that an epoch may take; ``None`` for the default.
        """
        self._limit = limit
        message = {"storage": storage, "study": study, "worker": worker, "lease": lease}
        self._send("joined", {"joined": message})

    def beat(self) -> None:
        """Tell that the leases have just been renewed; start another keeper if one is gone."""
        with self._lock:
            if not self._ended and self._keeper.poll() is not None:
                self._close()
                self._keeper = self._start()
                for message in self._last.values():
                    self._write(message)
        self._send("beat", {"beat": True})

    def end(self) -> None:
        """Be watched no longer, when what the keeper has begun is done."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            self._close()
            self._stacks.close()

    def _start(self) -> subprocess.Popen[bytes]:
        told = {
            "watched": os.getpid(),
            "kill": self._kill,
            "stacks": self._stacks.fileno(),
            "driver": self._driver,
            "least": LEAST_SECONDS,
            "orphan": ORPHAN_SECONDS,
            "path": sys.path,
        }
        inherited = (self._stacks.fileno(), *([] if self._driver is None else [self._driver]))
        keeper = subprocess.Popen(  # noqa: S603 - a program of ours
            [*isolated_python(), Path(__file__).with_name("keeper.py"), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=inherited,
        )
        assert keeper.stdin is not None
        os.set_blocking(keeper.stdin.fileno(), False)
        return keeper

    def _send(self, kind: str, message: dict[str, Any]) -> None:
        with self._lock:
            if kind != "beat":
                self._last[kind] = message
            if not self._ended:
                self._write(message)

    def _write(self, message: dict[str, Any]) -> None:
        assert self._keeper.stdin is not None
        # A keeper that waits for the database reads later; one that is gone is replaced.
        with contextlib.suppress(OSError):
            os.write(self._keeper.stdin.fileno(), json.dumps(message).encode() + b"\n")

    def _close(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        try:
            self._keeper.wait(_RECORD_SECONDS if self._stalled else _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()

    def raise_if_stalled(self, _signal: int, _frame: FrameType | None) -> None:
        """Answer the keeper's signal in the main thread.

        Raises:
            Stalled: it is the keeper's; the file of stacks begins with its reason.
        """
        if not self._ended:
            reason, _, _ = os.pread(self._stacks.fileno(), 4096, 0).partition(b"\n")
            if STALLED.encode() in reason:
                self._stalled = True
                raise Stalled(reason.decode(errors="replace"))

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Write the stacks of all threads when the keeper asks, and stop where that is possible."""
        main = threading.current_thread() is threading.main_thread()
        interrupts = main and not self._kill
        before = signal.signal(SIGNAL, self.raise_if_stalled) if interrupts else None
        faulthandler.register(SIGNAL, self._stacks, all_threads=True, chain=interrupts)
        try:
            yield
        finally:
            faulthandler.unregister(SIGNAL)
            if interrupts:
                signal.signal(SIGNAL, before or signal.SIG_DFL)


@contextlib.contextmanager
def watched(*, driver: int | None = None) -> Iterator[Watchdog]:
    """Be watched within the block.

    Args:
        driver: descriptor that ends with the process that has started this one for a worker alone;
            ``None`` if this process does other things, too, and must not be killed.
    """
    watchdog = Watchdog(kill=driver is not None, driver=driver)
    try:
        with watchdog.answering():
            yield watchdog
    finally:
        watchdog.end()
