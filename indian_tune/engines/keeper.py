"""Judges whether a worker makes progress, and keeps its leases while the worker cannot.

A program of its own, started by `watched`. It has to be one: where a model keeps the interpreter in
C, no thread of the worker's process runs any more, so nothing in that process can renew a lease, or
notice that it hangs. What is needed without the interpreter is done by signals: faulthandler's
handler writes the stack of all threads, and SIGKILL ends the process. On a host that joined a study
there is nobody else who could do it, so every worker has a keeper, whatever its engine.

While the worker's own thread renews the leases, the keeper sleeps, and no database is loaded here.

Standard input carries a line of JSON per message; see :class:`Keeper`. The keeper is done when it
ends, or when the worker's process does.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

# An epoch that takes this many times as long as any other of its study hangs.
FACTOR = 20.0
LOOK_SECONDS = 0.5
# How long to wait for a stack, which takes milliseconds unless the process is kept in the kernel.
STACK_SECONDS = 3.0
# How long an interrupted worker of this very process may take to say something.
ANSWER_SECONDS = 3.0
# Writes the stacks, and wakes the main thread where it may be interrupted. It is ignored by default
# and hardly ever used.
SIGNAL = signal.SIGURG
# Tells the keeper's signal from anybody else's.
STALLED = " made no progress for "


class Keeper:
    """The state of one worker, as it has told it.

    Messages: ``at`` (what is begun, in words; ``None`` for nothing that could hang) with ``trials``
    (ids and paths; ``None`` for all that are held), ``runs`` (that share the epoch) and ``limit``
    (seconds; ``None`` for the default); ``joined`` (``storage``, ``study``, ``worker``, ``lease``);
    ``beat`` (the worker has renewed its leases).

    Args:
        watched: id of the worker's process, which has started this one.
        kill: whether it is killed when it hangs; else its main thread is interrupted.
        stacks: descriptor of the file to which it writes its stacks.
        driver: descriptor that ends with the process that has started the worker, if there is one.
        least: seconds that anything may take by default.
        orphan: seconds that the worker has when its driver is gone.
    """

    def __init__(
        self,
        watched: int,
        *,
        kill: bool,
        stacks: int,
        driver: int | None,
        least: float,
        orphan: float,
    ) -> None:
        self._watched = watched
        self._kill = kill
        self._stacks = stacks
        self._driver = driver
        self._least = least
        self._orphan = orphan
        self._study: dict[str, Any] | None = None
        self._at: dict[str, Any] = {"at": None}
        self._for = 0.0
        self._since_beat = 0.0
        self._orphaned_for: float | None = None
        self._given_up = ""
        self._unanswered_for: float | None = None
        self._longest = 0.0
        self._rest = b""

    def watch(self) -> None:
        """Keep the worker until it ends."""
        last = time.monotonic()
        while os.getppid() == self._watched:
            waits_for = [0] if self._driver is None else [0, self._driver]
            ready = select.select(waits_for, [], [], LOOK_SECONDS)[0]
            now = time.monotonic()
            # A keeper that was suspended itself, as with the whole machine, has seen nothing.
            self._pass(min(now - last, 2 * LOOK_SECONDS))
            last = now
            if self._driver in ready:
                self._driver, self._orphaned_for = None, 0.0
            if 0 in ready and not self._read():
                return
            self._judge()

    def _read(self) -> bool:
        """Take in what the worker has said; return whether it may say more."""
        data = os.read(0, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        return bool(data)

    def _moved_on(self) -> bool:
        """Whether the worker has begun something else, or ended, while nobody listened."""
        before = self._at
        while select.select([0], [], [], 0)[0]:
            if not self._read():
                return True
        return self._at is not before

    def _pass(self, seconds: float) -> None:
        self._for += seconds
        self._since_beat += seconds
        if self._orphaned_for is not None:
            self._orphaned_for += seconds
        if self._unanswered_for is not None:
            self._unanswered_for += seconds

    def _take(self, message: dict[str, Any]) -> None:
        if "at" in message:
            self._at, self._for, self._unanswered_for = message, 0.0, None
        elif "joined" in message:
            self._study, self._since_beat = message["joined"], 0.0
        else:
            self._since_beat = 0.0

    def _judge(self) -> None:
        if self._orphaned_for is not None and self._orphaned_for > self._orphan:
            kill_tree(self._watched)
        elif self._hangs():
            self._give_up()
        elif self._study is not None and self._since_beat > self._study["lease"] / 2:
            self._since_beat = 0.0
            with self._ledger() as ledger:
                ledger.heartbeat(self._study["worker"])
        if self._unanswered_for is not None and self._unanswered_for > ANSWER_SECONDS:
            self._unanswered_for = None
            _tell(f"{self._given_up}. It cannot be interrupted; press Ctrl-C twice to end it.")

    def _hangs(self) -> bool:
        if self._at["at"] is None:
            return False
        limit: float | None = self._at["limit"]
        runs: int = self._at["runs"]
        if limit is not None:
            return self._for > limit
        if self._for <= max(self._least, FACTOR * self._longest * runs):
            return False
        # Others may have seen longer epochs than this worker has.
        if self._study is not None:
            with self._ledger() as ledger:
                self._longest = ledger.longest_epoch(self._study["study"])
        return self._for > max(self._least, FACTOR * self._longest * runs)

    def _give_up(self) -> None:
        """End the attempts at the trials that hang, and the worker's process if it may be killed.

        First the record: a death that its driver sees before would count as another attempt.
        """
        what = (
            f"{self._at['at']}{STALLED}{self._for:.0f} s, longer than an epoch may "
            "take (protocol.epoch_timeout)"
        )
        end = ": its worker was killed" if self._kill else ": it was given up"
        # To ask the database takes time, and for the stacks too.
        if self._moved_on():
            return
        stack = self._stack(what)
        if self._kill and self._moved_on():
            return
        trials = self._at["trials"]
        try:
            if self._study is not None:
                with self._ledger() as ledger:
                    ledger.give_up(
                        self._study["worker"],
                        f"{stack}\n{what}{end}",
                        None if trials is None else dict(trials),
                        ends=self._kill,
                    )
            elif self._kill:
                _tell(f"{stack}\n{what}{end}")
        finally:
            if self._kill:
                kill_tree(self._watched)
            else:
                self._at, self._given_up, self._unanswered_for = {"at": None}, what + end, 0.0

    def _stack(self, what: str) -> str:
        """Return where every thread of the worker is; this interrupts it where it may be."""
        head = f"{what}\n".encode()
        os.ftruncate(self._stacks, 0)
        # The descriptor has one position, here and there: the stacks follow.
        os.lseek(self._stacks, 0, os.SEEK_SET)
        os.write(self._stacks, head)
        with contextlib.suppress(OSError):
            os.kill(self._watched, SIGNAL)
        deadline = time.monotonic() + STACK_SECONDS
        size = 0
        while time.monotonic() < deadline:
            before, size = size, os.fstat(self._stacks).st_size
            if before == size > len(head):
                break
            time.sleep(0.1)
        stack = os.pread(self._stacks, size, len(head)).decode(errors="replace")
        return stack.strip() or "(its stack could not be read)"

    @contextlib.contextmanager
    def _ledger(self) -> Any:
        """Open the ledger for one transaction; what fails is told, and the worker continues."""
        root = str(Path(__file__).parents[2])
        if root not in sys.path:
            # After the standard library: no module of the user's may take its place.
            sys.path.insert(0, root)
        import logging
        from datetime import timedelta

        from indian_tune.errors import IndianTuneError
        from indian_tune.ledger import Ledger

        # The worker tells itself that the database does not answer.
        logging.getLogger("indian_tune").setLevel(logging.ERROR)
        assert self._study is not None
        try:
            with Ledger.open(self._study["storage"], patient=True) as ledger:
                ledger.lease = timedelta(seconds=self._study["lease"])
                yield ledger
        except IndianTuneError as error:
            _tell(str(error))


def kill_tree(watched: int) -> None:
    """Kill a process with all that it has started, but not this one."""
    victims = []
    with contextlib.suppress(Exception):
        import psutil

        victims = [child.pid for child in psutil.Process(watched).children(recursive=True)]
    for pid in (*victims, watched):
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())


def main() -> None:
    """Read who is watched, and watch."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Ctrl-C and a service manager's request reach the whole group; the worker decides.
        signal.signal(number, signal.SIG_IGN)
    settings = json.loads(sys.argv[1])
    sys.path += [path for path in settings.pop("path") if path and path not in sys.path]
    Keeper(**settings).watch()


if __name__ == "__main__":
    main()
