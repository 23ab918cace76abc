"""Runs that the calling program trains itself, one block at a time.

A worker as in every engine works in a thread beside it, so that leases, reports, pruning, retries
and checkpoints are the same. Where it would call the loop of a run, it hands the run to the block,
and the loop ends when the block does.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from indian_tune.engines.exclusive import training_alone
from indian_tune.engines.interrupt import StoppedNow
from indian_tune.engines.worker import work
from indian_tune.errors import InputError
from indian_tune.imports import in_hand
from indian_tune.problems.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import LoopRun


class LoopMaker:
    """Makes the loop of a study once, for all runs that a program asks for.

    Args:
        factory: the function that returns the ``Loop``.
    """

    def __init__(self, factory: Callable[..., Any]) -> None:
        self._factory = factory
        self._loop: Loop | None = None

    def __call__(self, **arguments: Any) -> Loop:
        """Return the loop."""
        if self._loop is None:
            made = self._factory(**arguments)
            assert isinstance(made, Loop), "it was one when the study was registered"
            self._loop = made
        return self._loop


def check_asked(spec: StudySpec) -> None:
    """Check that the runs of a study can be trained one by one in a program of its user's.

    Raises:
        InputError: they cannot; the message names the key.
    """
    if not spec.problem.own_loop:
        raise InputError(
            f"study {spec.name!r} trains {spec.problem.network_name} with indian-tune's training "
            "loop: run it with search, or let problem.factory return an indian_tune.Loop"
        )
    pruner, seeds = spec.search.pruner, len(spec.protocol.tuning_seeds)
    if pruner.judges == "epochs" and seeds > 1:
        raise InputError(
            f"search.pruner = {pruner.name!r} compares trials at equal epochs of all their "
            f"{seeds} seeds, but a `with` block trains one seed after the other: set "
            'protocol.tune_seeds = 1 or search.pruner = "none", or run it with search'
        )


@contextmanager
def asked_run(settings: WorkerSettings, factory: str, maker: LoopMaker) -> Iterator[LoopRun | None]:
    """Hand the next run of a study to the block.

    When the block ends, so does the run: normally once its epochs are over, and failed by an
    exception, which passes on. Ctrl-C and an exit of the program give it back.

    Args:
        settings: of the worker; its device is what the run trains on.
        factory: reference of the study's factory.
        maker: of the loop that ``factory`` returns.

    Yields:
        The run; ``None`` when nothing is left to train. Where others hold what is left, this waits.

    Raises:
        InputError: another thread trains a search.
        LoopError: the block has done what a loop must not.
        IndianTuneError: the record cannot be kept, or the study's own code cannot be used.
    """
    from indian_tune.training import start_torch

    # How many threads an operation has is a matter of each thread that calls torch.
    start_torch(settings.threads)
    with training_alone():
        yield from _handed_over(_Desk(replace(settings, one_by_one=True), factory, maker))


def _handed_over(desk: _Desk) -> Iterator[LoopRun | None]:
    try:
        run = desk.arrived.get()
        if desk.failure is None:
            yield run
        if run is not None:
            run._check_end()
    except BaseException as error:
        desk.leave(error if isinstance(error, Exception) else StoppedNow())
        if desk.failure is not None:
            raise desk.failure from error
        raise
    desk.leave(None)
    if desk.failure is not None:
        raise desk.failure


class _Desk:
    """Where the worker's thread and the block meet.

    Attributes:
        arrived: the run, or ``None`` once the worker has ended without one.
        failure: why the worker could not continue, for a reason that is not the block's.
    """

    def __init__(self, settings: WorkerSettings, factory: str, maker: LoopMaker) -> None:
        self.arrived: SimpleQueue[LoopRun | None] = SimpleQueue()
        self.failure: BaseException | None = None
        self._settings, self._factory, self._maker = settings, factory, maker
        self._run: LoopRun | None = None
        self._left = threading.Event()
        self._outcome: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def leave(self, outcome: BaseException | None) -> None:
        """Say how the block ended, and wait until that is recorded."""
        if not self._left.is_set():
            self._outcome = outcome
            self._left.set()
        self._thread.join()

    def _work(self) -> None:
        def factory(**arguments: Any) -> Loop:
            return replace(self._maker(**arguments), train=self._hand_over)

        try:
            with in_hand({self._factory: factory}):
                work(self._settings, self._left.is_set)
        except BaseException as error:  # noqa: BLE001 - raised again by the block's thread
            if not isinstance(error, StoppedNow):
                self.failure = error
        finally:
            if self._run is not None:
                # The block may wait for an answer that will not come.
                self._run.abandon()
            self.arrived.put(None)

    def _hand_over(self, run: LoopRun) -> None:
        if self._left.is_set():
            raise StoppedNow
        self._run = run
        self.arrived.put(run)
        self._left.wait()
        if self._outcome is not None:
            raise self._outcome
