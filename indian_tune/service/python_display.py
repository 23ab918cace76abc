"""What a search from Python tells while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.ledger import needed_option
from indian_tune.service.python_words import in_arguments
from indian_tune.service.ranking import edge_notes, failure_notes
from indian_tune.service.searching import no_progress
from indian_tune.study import rank

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from indian_tune.engines import Session
    from indian_tune.ledger import Phase
    from indian_tune.service.searching import Progress

__all__ = ["PythonDisplay", "warn", "warn_of_changes"]


def warn_of_changes(session: Session, warning: str | None) -> None:
    """Warn of what is not as it was when the study was worked on before.

    Args:
        session: open.
        warning: of its checkpoints; ``None`` if they are where they were.
    """
    for text in (*session.changes, *([] if warning is None else [warning])):
        warn(text)


def warn(text: str) -> None:
    """Show a warning."""
    from indian_tune.service.output import notices

    notices().print(f"Warning: {in_arguments(text)}", soft_wrap=True)


class PythonDisplay:
    """What a search from Python tells, on standard error or in a notebook's cell."""

    def __init__(self, again: Any, *, quiet: bool) -> None:
        from indian_tune.service.output import notices

        self._again = again
        self._quiet = quiet
        self._remarks = notices()

    def trying(self) -> None:
        """Say that own code is run."""
        from indian_tune.service.output import TRYING

        self._say(TRYING)

    def opened(self, session: Session, warning: str | None) -> None:
        """Warn of what has changed."""
        warn_of_changes(session, warning)

    def nothing_left(self, session: Session, until: Phase) -> None:
        """Say that the study is finished."""
        self._say(f"{session.name} is finished: nothing is left to train.")

    def progress(self, session: Session, place: str) -> AbstractContextManager[Progress]:
        """Say where it runs, and show how far it is."""
        if self._quiet:
            return no_progress()
        from indian_tune.service.progress import SearchProgress

        self._say(f"{session.name}: starting {place}")
        return SearchProgress(self._remarks, session)

    def stopping(self) -> None:
        """Say what the first interrupt does."""
        self._say("Stopping after this epoch; another interrupt stops at once.")

    def warn(self, text: str) -> None:
        """Show a warning."""
        warn(text)

    def stopped_now(self, session: Session) -> None:
        """End the call, and ask the database nothing more."""
        raise KeyboardInterrupt(
            f"stopped; all results are kept in {session.ledger.address}. Continue with:\n"
            f"{self._again().line}"
        )

    def ended(self, session: Session, until: Phase, *, interrupted: bool, broken: bool) -> None:
        """Say what a user should know of the results, which are returned."""
        if interrupted or broken:
            return
        ranked = rank(session.ledger, session.record)
        ends = edge_notes(ranked)
        # Its first note is then of the arms of which nothing trained.
        worthless = int(any(result.trained is False for result in ranked))
        storage = needed_option(session.ledger.address)
        outcome = session.spec.problem.outcome
        failures = failure_notes(ranked, session.name, storage, outcome)
        for note in (*failures, *ends[:worthless]):
            self.warn(note)
        for note in ends[worthless:]:
            self._say(note)

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._remarks.print(text, soft_wrap=True)
