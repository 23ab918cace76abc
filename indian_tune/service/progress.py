"""Live progress of a search: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING

from indian_tune.engines.heartbeat import lost_workers
from indian_tune.ledger import Phase
from indian_tune.service.output import duration, live_display, table
from indian_tune.service.ranking import done, outcomes, tune_title
from indian_tune.study.completion import held_trials
from indian_tune.study.description import score_words
from indian_tune.study.levels import LEVELS
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from indian_tune.ledger import ArmProgress, LedgerReader
    from indian_tune.study import RegisteredStudy, StudySpec

logger = logging.getLogger(__name__)

LIVE_SECONDS = 0.5
LINE_SECONDS = 10.0
# The rate is that of the last while: what came before an interruption or a slow start is past.
WINDOW_SECONDS = 30.0
# A bar needs room beside the numbers, and says no more for being longer.
BAR_COLUMNS = 60
MAX_COLUMNS = 110


class Pace:
    """How fast epochs end, over the last while.

    Args:
        elapsed: whether the time since this began is of interest.
    """

    def __init__(self, *, elapsed: bool = True) -> None:
        self._began = time.monotonic() if elapsed else None
        self._marks: deque[tuple[float, int]] = deque()

    def summary(self, done: int, left: int) -> str:
        """Return epochs, rate, and time elapsed and left.

        Args:
            done: epochs that are recorded.
            left: epochs that are expected still.
        """
        now = time.monotonic()
        self._marks.append((now, done))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW_SECONDS:
            self._marks.popleft()
        parts = [f"{done} of {counted(done + left, 'epoch')}" if left else counted(done, "epoch")]
        # Time before the first epoch is start-up and says nothing about the rate.
        first = next((mark for mark in self._marks if mark[1] > self._marks[0][1]), None)
        rate = 0.0
        if first is not None and now > first[0] and left:
            rate = (done - first[1]) / (now - first[0])
        if rate:
            parts.append(f"{rate:.1f} epochs/s")
        if self._began is not None:
            parts.append(f"{duration(now - self._began)} elapsed")
        if rate:
            parts.append(f"about {duration(left / rate)} left")
        return ", ".join(parts)


TITLES = {
    **{Phase.TUNE: "tune", Phase.FINAL: "finalists", Phase.MATCH: "levels"},
    **{Phase.HALF: "half budget", Phase.CONFIRM: "fresh seeds"},
}


def progress_table(
    parts: Sequence[ArmProgress],
    spec: StudySpec | None = None,
    width: int | None = None,
    left: Mapping[str, int] | None = None,
) -> Table:
    """Return how far each arm is.

    Args:
        parts: each arm's progress in each phase.
        spec: the study; with it the phases that are still to come are shown too, and best scores.
        width: columns of the terminal that bars may fill; ``None`` for none.
        left: arm → epochs that are expected still, which bars need.
    """
    from rich.progress_bar import ProgressBar

    begun = {part.phase for part in parts}
    shown = {
        Phase.FINAL: spec is not None and spec.protocol.finalists,
        Phase.MATCH: spec is not None and spec.matched_arms,
        Phase.HALF: spec is not None and spec.claims.half_budget,
    }
    phases = [phase for phase in TITLES if shown.get(phase, True) or phase in begun]
    titles = [TITLES[phase] for phase in phases]
    columns = [titles[0], *([_best_title(spec)] if spec else []), *titles[1:], "epochs"]
    bars = width is not None and width >= BAR_COLUMNS and left is not None
    made = table("arm", *([" "] if bars else []), *columns, "", right=tuple(columns))
    if bars and width is not None:
        made.width = min(width, MAX_COLUMNS)
        made.columns[1].ratio = 1
        for column in made.columns[2:-1]:
            column.no_wrap = True
    arms = {part.arm.id: part.arm for part in parts}
    for arm in sorted(arms.values(), key=lambda arm: arm.position):
        mine = {part.phase: part for part in parts if part.arm.id == arm.id}
        epochs = sum(part.epochs_done for part in mine.values())
        total = None if left is None else epochs + left[arm.name]
        made.add_row(
            arm.name,
            # One of an arm that needs nothing is full.
            *([ProgressBar(total or 1, epochs if total else 1)] if bars else []),
            done(mine.get(Phase.TUNE)),
            *([_best(spec, mine.get(Phase.TUNE))] if spec else []),
            *(done(mine.get(phase)) for phase in phases[1:]),
            str(epochs) if total is None else f"{epochs}/{total}",
            ", ".join(filter(None, map(outcomes, mine.values()))),
        )
    return made


def _best_title(spec: StudySpec) -> str:
    """Return the heading of the best score so far: that of the ranking if both show the same."""
    if spec.protocol.score != "validation_error":
        return f"best {score_words(spec.protocol.score, spec.problem.outcome)}".replace(
            " ", "\n", 1
        )
    return f"{'best ' * (spec.replicates > 1)}{tune_title(spec.problem.outcome)}"


def _best(spec: StudySpec, tune: ArmProgress | None) -> str:
    """Return the best score of a search so far; an error of classification in percent."""
    if tune is None or tune.best is None:
        return "–"
    if spec.protocol.score != "validation_error":
        return f"{tune.best:.4f}"
    return spec.problem.outcome.error_text(tune.best)


def epochs_left(
    spec: StudySpec, parts: Sequence[ArmProgress], *, levels_frozen: bool
) -> dict[str, int]:
    """Return how many epochs each arm is expected to need still.

    Args:
        spec: the study.
        parts: each arm's progress in each phase.
        levels_frozen: whether the levels of the response-matched controls are chosen.
    """
    protocol = spec.protocol
    tune = len(protocol.tuning_seeds) * protocol.tuning_epochs
    searches = spec.replicates
    match = len(protocol.matching_seeds) * protocol.tuning_epochs
    final = len(protocol.final_seeds_of(0, searches)) * protocol.tuning_epochs
    trial = {
        **{Phase.TUNE: tune, Phase.FINAL: final, Phase.MATCH: match},
        **{Phase.HALF: protocol.epochs, Phase.CONFIRM: protocol.epochs},
    }
    left = {arm.name: 0 for arm in spec.arms}
    for part in parts:
        needed = (part.total - part.finished) * trial[part.phase]
        left[part.arm.name] += max(0, needed - part.epochs_open)
    # What is not frozen yet has no slots: a search is expected to have a winner, and another
    # one in its first half.
    fresh = len(protocol.confirming_seeds) * protocol.epochs * searches
    begun = {(part.arm.name, part.phase) for part in parts}
    frozen = any(phase is Phase.CONFIRM for _, phase in begun)
    for arm in spec.arms:
        control = arm.response_of is not None
        if levels_frozen if control else frozen:
            continue
        left[arm.name] += fresh * (2 if arm.searched and spec.claims.half_budget else 1)
        if arm.searched and (arm.name, Phase.FINAL) not in begun:
            tune_parts = [part for part in parts if part.phase is Phase.TUNE]
            trials = sum(part.total for part in tune_parts if part.arm.name == arm.name)
            left[arm.name] += min(protocol.finalists * searches, trials) * final
        if control and (arm.name, Phase.MATCH) not in begun:
            left[arm.name] += len(LEVELS) * match * searches
    return left


class LiveTable:
    """The table of a study that is under way, with bars and pace.

    Args:
        study: whose ledger is asked.
        elapsed: whether to show how long this has been looked at.
    """

    def __init__(self, study: RegisteredStudy[LedgerReader], *, elapsed: bool = True) -> None:
        self._study = study
        self._pace = Pace(elapsed=elapsed)

    def look(self, parts: Sequence[ArmProgress], width: int | None) -> tuple[Table, str]:
        """Return the table for a terminal of so many columns, and a line about the pace."""
        spec, ledger = self._study.spec, self._study.ledger
        frozen = bool(spec.matched_arms) and ledger.has_levels(self._study.id)
        left = epochs_left(spec, parts, levels_frozen=frozen)
        epochs = sum(part.epochs_done for part in parts)
        summary = self._pace.summary(epochs, sum(left.values()))
        made = progress_table(parts, spec, width, left)
        made.caption = summary
        made.caption_justify = "left"
        return made, summary


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
        self._live = live_display(console)
        self._shown_at = 0.0
        self._last_line = ""
        self._table = LiveTable(study)
        self._lost: set[str] = set()
        self._since = study.ledger.now()

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
        shown, summary = self._table.look(parts, self._console.width)
        if self._live is not None:
            self._live.update(shown, refresh=True)
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
        """Say once of every worker that it is gone, unless that was before and nothing waits."""
        lost = lost_workers(self._ledger, self._study.record)
        if not any(worker.id not in self._lost for worker in lost):
            return
        held = held_trials(self._ledger, self._study.record)
        for worker in lost:
            news = worker.id in held or worker.heartbeat_at >= self._since
            if worker.id not in self._lost and news:
                self._lost.add(worker.id)
                trials = ", ".join(held.get(worker.id, ["what it held"]))
                logger.warning(
                    "worker %s on %s has not reported since %s UTC; another worker takes over %s",
                    worker.id[:8],
                    worker.host,
                    f"{worker.heartbeat_at:%H:%M:%S}",
                    trials,
                )
