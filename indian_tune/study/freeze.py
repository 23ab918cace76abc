"""Choosing the winners of the tune phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.ledger import ArmRecord, Phase, State, TrialRecord, Winner

if TYPE_CHECKING:
    from indian_tune.ledger import LedgerReader


def choose_winners(ledger: LedgerReader, study_id: int) -> list[Winner]:
    """Return the best tune trial of every arm that has one, in the order of the arms.

    Only complete trials can win: a pruned one was not trained to the end and a diverged one has
    no score of its own. Ties go to the lower index, which was asked for first.
    """
    return [
        Winner(arm, best)
        for arm in ledger.arms(study_id)
        if (best := best_trial(ledger, arm)) is not None
    ]


def best_trial(ledger: LedgerReader, arm: ArmRecord) -> TrialRecord | None:
    """Return the best complete tune trial of an arm so far, ``None`` when there is none."""
    trials = ledger.trials(arm.study_id, phase=Phase.TUNE, arm_id=arm.id, states=(State.COMPLETE,))
    return min(
        (trial for trial in trials if trial.value is not None),
        key=lambda trial: (trial.value, trial.index),
        default=None,
    )
