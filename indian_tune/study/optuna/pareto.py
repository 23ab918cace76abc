"""Trials that no other trial beats under every objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.ledger import TrialRecord


def pareto_front(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that none dominates, by their first score.

    A trial dominates another if it is at most as high under every objective and lower under one.
    Trials without scores are left out.

    Args:
        trials: complete tune trials of one arm.
    """
    scored = [trial for trial in trials if trial.scores is not None]
    front = [trial for trial in scored if not any(_dominates(other, trial) for other in scored)]
    return sorted(front, key=lambda trial: (*(trial.scores or ()), trial.index))


def _dominates(first: TrialRecord, second: TrialRecord) -> bool:
    ours, theirs = first.scores or (), second.scores or ()
    pairs = list(zip(ours, theirs, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
