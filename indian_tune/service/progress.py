"""Live progress of a search: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from indian_tune.engines.heartbeat import lost_workers
from indian_tune.ledger import Phase
from indian_tune.service.output import duration, live_display, table
from indian_tune.service.ranking import done, outcomes
from indian_tune.study.completion import held_trials
from indian_tune.study.levels import LEVELS
from indian_tune.text import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from indian_tune.ledger import ArmProgress, LedgerReader
    from indian_tune.study import RegisteredStudy

logger = logging.getLogger(__name__)

LIVE_SECONDS = 0.5
LINE_SECONDS = 10.0
# The rate is that of the last while: what came before an interruption or a slow start is past.
WINDOW_SECONDS = 30.0


class SearchProgress:
    """Shows how far a search is; a context manager around the engine.

    Args:
        console: where to show it.
        study: its ledger is asked at most twice a second.
    """

    def __init__(self, console: Console, study: RegisteredStudy[LedgerReader]) -> None:
        self._console = console
        self._study = study
        self._ledger = study.ledger
        self._spec = study.spec
        self._live = live_display(console)
        self._shown_at = 0.0
        self._last_line = ""
        self._marks: deque[tuple[float, int]] = deque()
        self._lost: set[str] = set()

    def __enter__(self) -> SearchProgress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self) -> None:
        """Show the present state if the last one was shown long enough ago."""
        now = time.monotonic()
        due = LIVE_SECONDS if self._live is not None else LINE_SECONDS
        if now - self._shown_at < due:
            return
        self._shown_at = now
        self.show()

    def show(self) -> None:
        """Show the present state."""
        self._warn_of_lost()
        parts = self._ledger.progress(self._study.id)
        summary = self._summary(parts)
        if self._live is not None:
            self._live.update(self._table(parts, summary), refresh=True)
            return
        line = "; ".join(
            f"{part.arm.name} {part.phase} {part.finished}/{part.total}"
            for part in parts
            if part.finished < part.total or part.phase is Phase.CONFIRM
        )
        text = f"{summary}: {line}" if line else summary
        if text != self._last_line:
            self._console.print(text, soft_wrap=True)
            self._last_line = text

    def _warn_of_lost(self) -> None:
        """Say once of every worker that it is gone, if it holds trials that wait for it."""
        lost = lost_workers(self._ledger, self._study.record)
        if not any(worker.id not in self._lost for worker in lost):
            return
        held = held_trials(self._ledger, self._study.record)
        for worker in lost:
            if worker.id not in self._lost and worker.id in held:
                self._lost.add(worker.id)
                logger.warning(
                    "worker %s on %s is lost, last heard of at %s UTC; another takes over %s",
                    worker.id[:8],
                    worker.host,
                    f"{worker.heartbeat_at:%H:%M:%S}",
                    ", ".join(held[worker.id]),
                )

    def _table(self, parts: list[ArmProgress], summary: str) -> Table:
        levels = ["levels"] if self._spec.matched_arms else []
        halves = ["half budget"] if self._spec.claims.half_budget else []
        finals = ["finalists"] if self._spec.protocol.finalists else []
        columns = ("tune", "best", *finals, *levels, *halves, "fresh seeds", "epochs")
        made = table("arm", *columns, "", right=columns)
        judged, named = self._spec.problem.outcome, self._spec.protocol.score == "validation_error"
        arms = {part.arm.id: part.arm for part in parts}
        for arm in sorted(arms.values(), key=lambda arm: arm.position):
            mine = {part.phase: part for part in parts if part.arm.id == arm.id}
            tune = mine.get(Phase.TUNE)
            value = None if tune is None else tune.best
            best = "–" if value is None else f"{value:.4f}"
            made.add_row(
                arm.name,
                done(tune),
                judged.error_text(value) + " %" * judged.share
                if named and value is not None
                else best,
                *([done(mine.get(Phase.FINAL))] if finals else []),
                *([done(mine.get(Phase.MATCH))] if levels else []),
                *([done(mine.get(Phase.HALF))] if halves else []),
                done(mine.get(Phase.CONFIRM)),
                str(sum(part.epochs_done for part in mine.values())),
                ", ".join(filter(None, map(outcomes, mine.values()))),
            )
        made.caption = summary
        made.caption_justify = "left"
        return made

    def _summary(self, parts: list[ArmProgress]) -> str:
        now = time.monotonic()
        done = sum(part.epochs_done for part in parts)
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_SECONDS:
            self._marks.popleft()
        # Time before the first epoch is start-up and says nothing about the rate.
        first = next((mark for mark in self._marks if mark[1] > self._marks[0][1]), None)
        if first is None or now == first[0] or done == first[1]:
            return counted(done, "epoch")
        left = self._epochs_left(parts)
        if left == 0:
            return counted(done, "epoch")
        rate = (done - first[1]) / (now - first[0])
        return f"{counted(done, 'epoch')}, {rate:.1f} epochs/s, {duration(left / rate)} left"

    def _epochs_left(self, parts: list[ArmProgress]) -> int:
        protocol = self._spec.protocol
        tune = len(protocol.tuning_seeds) * protocol.tuning_epochs
        searches = self._spec.replicates
        match = len(protocol.matching_seeds) * protocol.tuning_epochs
        final = len(protocol.final_seeds_of(0, searches)) * protocol.tuning_epochs
        trial = {
            **{Phase.TUNE: tune, Phase.FINAL: final, Phase.MATCH: match},
            **{Phase.HALF: protocol.epochs, Phase.CONFIRM: protocol.epochs},
        }
        left = sum((part.total - part.finished) * trial[part.phase] for part in parts)
        # What is not frozen yet has no slots: a search is expected to have a winner, and another
        # one in its first half.
        fresh = len(protocol.confirming_seeds) * protocol.epochs * searches
        begun = {(part.arm.name, part.phase) for part in parts}
        frozen = any(phase is Phase.CONFIRM for _, phase in begun)
        levels = self._ledger.levels(self._study.id) if self._spec.matched_arms else {}
        for arm in self._spec.arms:
            control = arm.response_of is not None
            if bool(levels) if control else frozen:
                continue
            left += fresh * (2 if arm.searched and self._spec.claims.half_budget else 1)
            if arm.searched and (arm.name, Phase.FINAL) not in begun:
                left += protocol.finalists * final * searches
            if control and (arm.name, Phase.MATCH) not in begun:
                left += len(LEVELS) * match * searches
        return left
