"""Calls a function of the user for every trial that ends during a search."""

from __future__ import annotations

import inspect
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from indian_tune.engines import Stalled, StoppedNow
from indian_tune.errors import InputError
from indian_tune.ledger import FINISHED
from indian_tune.study.completion import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from indian_tune.engines import Interrupt, Session
    from indian_tune.ledger import Phase, State, TrialRecord

__all__ = ["FinishedTrial", "TrialFollower", "check_function"]

SECONDS = 1.0
# A worker's transaction may be visible only some time after the clock was read in it.
LATE = timedelta(minutes=2)


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended, as the function ``on_trial`` of a search gets it.

    Attributes:
        study: name of the study.
        arm: name of the arm.
        path: what ``indian-tune show`` calls it, such as ``indian/3`` or ``indian/confirm/0``.
        phase: ``tune``, ``final`` (finalists), ``match``, ``half`` or ``confirm``.
        state: ``complete``, ``pruned``, ``diverged`` or ``failed``.
        seeds: of its runs: one in the phase ``confirm``, as many as tuning seeds in the search.
        config: hyperparameters, by name; ``None`` if none were drawn.
        score: what trials are judged by, as in ``frame("trials")``; smaller is better. The first
            one of several objectives. ``None`` without a validation result.
        attempts: how often it was begun.
        reason: why it failed, diverged or was pruned; ``None`` if it did not.
    """

    study: str
    arm: str
    path: str
    phase: Phase
    state: State
    seeds: tuple[int, ...]
    config: Mapping[str, float] | None
    score: float | None
    attempts: int
    reason: str | None


def check_function(call: object) -> None:
    """Check what is given as ``on_trial``.

    Raises:
        InputError: it cannot be called, or has to be awaited.
    """
    if call is not None and (not callable(call) or inspect.iscoroutinefunction(call)):
        raise InputError(
            f"on_trial = {call!r} must be a function of one argument, and no coroutine function: "
            "give def f(trial): …"
        )


class TrialFollower:
    """Calls a function once for every trial that ends, in the process of the search.

    Args:
        session: of the search.
        call: the function; ``None`` for nothing. What it raises ends the search as Ctrl-C does,
            after the current epoch; it is called with what ends until then.
        interrupt: of the search.
        warn: shows a warning.

    Attributes:
        error: what the function has raised first; ``None`` if nothing.
    """

    def __init__(
        self,
        session: Session,
        call: Callable[[FinishedTrial], object] | None,
        interrupt: Interrupt,
        warn: Callable[[str], None],
    ) -> None:
        self._ledger, self._study = session.ledger, session.record
        self._call, self._interrupt, self._warn = call, interrupt, warn
        self.error: BaseException | None = None
        self._looked_at = time.monotonic()
        if call is not None:
            self._arms = {arm.id: arm.name for arm in self._ledger.arms(self._study.id)}
            self._since = self._ledger.now()
            # A trial that failed may be tried again meanwhile.
            self._seen = {(trial.id, trial.finished_at) for trial in self._finished()}

    def after(self, tick: Callable[[], None]) -> Callable[[], None]:
        """Return a tick for the engine: the given one, then :meth:`look` at most once a second."""

        def both() -> None:
            tick()
            if time.monotonic() - self._looked_at >= SECONDS:
                self.look()

        return tick if self._call is None else both

    def look(self) -> None:
        """Call the function with the trials that have ended."""
        if self._call is None:
            return
        now = self._ledger.now()
        for trial in self._finished(since=True):
            if (end := (trial.id, trial.finished_at)) not in self._seen:
                described = self._described(trial)
                # From here on nothing fails but the function.
                self._seen.add(end)
                self._tell(self._call, described)
        self._since = now
        self._looked_at = time.monotonic()

    def _finished(self, *, since: bool = False) -> list[TrialRecord]:
        found = self._ledger.trials(
            self._study.id,
            states=tuple(FINISHED),
            finished_since=self._since - LATE if since else None,
        )
        return sorted(found, key=lambda trial: trial.finished_at or self._since)

    def _described(self, trial: TrialRecord) -> FinishedTrial:
        arm = self._arms[trial.arm_id]
        return FinishedTrial(
            study=self._study.name,
            arm=arm,
            path=path_of(self._study, arm, trial),
            phase=trial.phase,
            state=trial.state,
            seeds=tuple(run.seed for run in self._ledger.runs(trial.id)),
            config=trial.config,
            score=trial.value,
            attempts=trial.attempts,
            reason=trial.reason,
        )

    def _tell(self, call: Callable[[FinishedTrial], object], trial: FinishedTrial) -> None:
        try:
            call(trial)
        except (StoppedNow, Stalled):
            raise
        except BaseException as error:  # noqa: BLE001 - raised once no worker trains any more
            if self.error is None:
                self.error = error
                self._interrupt.stopped = True
                self._warn(
                    f"on_trial raised {type(error).__name__}: {error}. The search stops after this "
                    "epoch"
                )
