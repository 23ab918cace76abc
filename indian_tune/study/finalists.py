"""The finalists of a search: its best trials, compared on further seeds before one is frozen.

The best of many trials on one seed is often one that was lucky there, near the end of what trains.
Each of the ``protocol.finalists`` best is trained on so many more seeds that there are five, and
the one with the lowest mean over all of them wins.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.ledger import Phase, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.ledger import Ledger, LedgerReader, StudyRecord, TrialRecord
    from indian_tune.study.registered_study import RegisteredStudy

    Search = tuple[int, int]


def finalists_of(study: StudyRecord) -> int:
    """Return how many finalists a search of a study has; 0 for none."""
    count: int = study.spec["protocol"].get("finalists", 0)
    return count


def call_finalists(study: RegisteredStudy[Ledger], *, anyway: bool = False) -> int:
    """Make the slots of finalists that have none, once the tune phase is over.

    Args:
        study: open for writing.
        anyway: whether to pass over tune trials that have failed.

    Returns:
        How many were made; none while tune trials are open or have failed.
    """
    ledger = study.ledger
    if not finalists_of(study.record) or ledger.frozen(study.id):
        return 0
    # Before the best are chosen: one that is added, or ends, meanwhile may be better.
    changes = ledger.changes(study.id)
    if ledger.open_trials(study.id, Phase.TUNE):
        return 0
    missing = _missing(ledger, study.record)
    return ledger.insert_finalists(study.id, missing, changes=changes, anyway=anyway)


def called(ledger: LedgerReader, study: StudyRecord) -> bool:
    """Whether every finalist of the present trials has its slot, or winners are frozen."""
    return not finalists_of(study) or ledger.frozen(study.id) or not _missing(ledger, study)


def leading(ledger: LedgerReader, study: StudyRecord) -> dict[Search, TrialRecord]:
    """Return the tune trial that leads every search, by arm and replicate.

    It is the best complete one, or the best finalist once all finalists of the search have ended;
    of finalists, those of which no run failed come first.
    """
    leaders = ledger.leaders(study.id)
    if not finalists_of(study):
        return leaders
    ended = {
        (trial.arm_id, trial.replicate, trial.index): trial
        for trial in ledger.trials(study.id, phase=Phase.FINAL)
        if trial.state.finished
    }
    for search, tuned in _shortlists(ledger, study).items():
        finals = [ended.get((*search, trial.index)) for trial in tuned]
        if all(finals):
            weights = _weights(study)
            leaders[search], _ = min(
                zip(tuned, finals, strict=True), key=lambda pair: _rank(pair[0], pair[1], weights)
            )
    return leaders


def _rank(
    tuned: TrialRecord, final: TrialRecord | None, weights: tuple[int, int]
) -> tuple[bool, float, int]:
    assert final is not None
    own, further = weights
    worst = final.state is not State.COMPLETE or final.value is None
    value = math.inf if final.value is None else final.value
    mean = ((tuned.value or 0.0) * own + value * further) / (own + further)
    return worst, mean, tuned.index


def _weights(study: StudyRecord) -> tuple[int, int]:
    """Return how many tune seeds a trial has, and how many further ones a finalist."""
    from indian_tune.study.file.protocol import MATCH_SEEDS

    seeds = study.spec["protocol"]["tune_seeds"]
    own = seeds if isinstance(seeds, int) else len(seeds)
    return own, MATCH_SEEDS - own


def _missing(ledger: LedgerReader, study: StudyRecord) -> list[TrialRecord]:
    there = {
        (trial.arm_id, trial.replicate, trial.index)
        for trial in ledger.trials(study.id, phase=Phase.FINAL)
    }
    return [
        trial
        for search, trials in _shortlists(ledger, study).items()
        for trial in trials
        if (*search, trial.index) not in there
    ]


def _shortlists(ledger: LedgerReader, study: StudyRecord) -> Mapping[Search, Sequence[TrialRecord]]:
    """Return the best complete tune trials of every search, the best first."""
    trials = ledger.trials(study.id, phase=Phase.TUNE, states=(State.COMPLETE,))
    searches: dict[Search, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda each: (each.value or 0.0, each.index)):
        best = searches.setdefault((trial.arm_id, trial.replicate), [])
        if len(best) < finalists_of(study):
            best.append(trial)
    return searches
