"""Writes choices at the end of a phase: finalists, winners and the levels of controls.

Each public method is one transaction, as in :mod:`indian_tune.ledger.writer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.ledger import slots
from indian_tune.ledger.connections import database_time
from indian_tune.ledger.records import search_name
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.states import Phase
from indian_tune.ledger.writer import StudyWriter, lock_study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.ledger.records import TrialRecord, Winner


class FreezingWriter(StudyWriter):
    """The part of :class:`~indian_tune.ledger.repository.Ledger` that ends phases."""

    @transaction
    def freeze(
        self,
        study_id: int,
        winners: Sequence[Winner],
        seeds: Sequence[int],
        *,
        candidates: Sequence[Winner] = (),
        halves: Sequence[Winner] | None = None,
        changes: int | None = None,
        anyway: bool = False,
    ) -> bool:
        """Record the winners and make one confirm slot per winner and seed.

        A study that was extended since is frozen again: a search whose winner still leads keeps its
        confirm trials, one with a new winner gets new slots after the old ones, which stay. Both
        freezings are in the events.

        Args:
            study_id: of the study.
            winners: as chosen among all its tune trials.
            seeds: of the confirm trials, those of all searches.
            candidates: configurations that arms compare in a match phase, a match slot for each;
                those arms are not among the winners.
            halves: the winners of the first half of the searches, where they are confirmed too.
                One that won its whole search gets no slots: its confirm trials are those of both.
            changes: :meth:`changes` before the winners were chosen, where trials may have been
                added or put back since.
            anyway: whether to freeze although tune trials have failed; the event then names them.

        Returns:
            Whether this call froze the study; ``False`` when its winners were frozen already,
            when tune trials have been added since or are not finished, or when some have failed.
        """
        with self._writing() as connection:
            # Two workers that see the end of the phase together must freeze one after the other.
            lock_study(connection, study_id)
            if slots.is_frozen(connection, study_id) or any(
                slots.is_open(connection, study_id, phase) for phase in (Phase.TUNE, Phase.FINAL)
            ):
                return False
            if changes not in (None, slots.count_changes(connection, study_id)):
                return False
            failed = slots.failed_trials(connection, study_id, Phase.TUNE)
            for name, finals in slots.failed_trials(connection, study_id, Phase.FINAL).items():
                failed.setdefault(name, []).extend(finals)
            if failed and not anyway:
                return False
            replicates = slots.count_replicates(connection, study_id)
            each = len(seeds) // replicates
            freezing = 1 + slots.count_events(connection, study_id, slots.FROZEN)
            slots.insert_confirms(connection, study_id, winners, each, freezing)
            slots.insert_matches(connection, study_id, candidates, freezing)
            event: dict[str, Any] = {
                "freezing": freezing,
                "winners": _recorded(winners, replicates),
                "seeds": list(seeds),
            }
            if halves is not None:
                event["halves"] = _recorded(halves, replicates)
                won = {(each.arm.id, each.replicate): dict(each.config) for each in winners}
                others = [
                    half
                    for half in halves
                    if won.get((half.arm.id, half.replicate)) != dict(half.config)
                ]
                slots.insert_confirms(connection, study_id, others, each, freezing, Phase.HALF)
            if failed:
                event["passed_over"] = failed
            slots.record_event(connection, study_id, slots.FROZEN, event, database_time(connection))
            return True

    @transaction
    def insert_finalists(
        self,
        study_id: int,
        finalists: Sequence[TrialRecord],
        *,
        changes: int | None = None,
        anyway: bool = False,
    ) -> int:
        """Make the slots in which tune trials are compared on further seeds, under their indices.

        Args:
            study_id: of the study.
            finalists: complete tune trials.
            changes: as for :meth:`freeze`.
            anyway: whether to pass over tune trials that have failed.

        Returns:
            How many were made; none while tune trials are open or have failed, or when some were
            added since.
        """
        with self._writing() as connection:
            lock_study(connection, study_id)
            failed = slots.failed_trials(connection, study_id, Phase.TUNE)
            if slots.is_open(connection, study_id, Phase.TUNE) or (failed and not anyway):
                return 0
            if changes not in (None, slots.count_changes(connection, study_id)):
                return 0
            return slots.insert_finalists(connection, study_id, finalists)

    @transaction
    def freeze_levels(
        self,
        study_id: int,
        freezing: int,
        levels: Mapping[str, Any],
        winners: Sequence[Winner],
        seeds: Sequence[int],
        *,
        anyway: bool = False,
    ) -> bool:
        """Record the levels of the controls, and make one confirm slot per control and seed.

        Args:
            study_id: of the study.
            freezing: of the winners whose controls they are.
            levels: what is recorded of each, by the name of the search.
            winners: the controls with their levels; one without a level is left out.
            seeds: of the confirm trials, those of all searches.
            anyway: whether to freeze although match trials have failed; the event then names them.

        Returns:
            Whether this call froze them; ``False`` when they were frozen already, when match
            trials are open or have failed, or when the winners are others by now.
        """
        with self._writing() as connection:
            lock_study(connection, study_id)
            if (
                slots.has_levels(connection, study_id)
                or not slots.is_frozen(connection, study_id)
                or slots.count_events(connection, study_id, slots.FROZEN) != freezing
                or slots.is_open(connection, study_id, Phase.MATCH)
            ):
                return False
            failed = slots.failed_trials(connection, study_id, Phase.MATCH)
            if failed and not anyway:
                return False
            each = len(seeds) // slots.count_replicates(connection, study_id)
            slots.insert_confirms(connection, study_id, winners, each, freezing)
            event: dict[str, Any] = {"freezing": freezing, "levels": dict(levels)}
            if failed:
                event["passed_over"] = failed
            slots.record_event(connection, study_id, slots.LEVELS, event, database_time(connection))
            return True


def _recorded(winners: Sequence[Winner], replicates: int) -> dict[str, dict[str, Any]]:
    """Return what an event tells of frozen configurations, by the name of the search."""
    return {
        search_name(winner.arm.name, winner.replicate, replicates): {
            "trial": None if winner.trial is None else winner.trial.index,
            "config": dict(winner.config),
            "value": None if winner.trial is None else winner.trial.value,
        }
        for winner in winners
    }
