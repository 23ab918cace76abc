"""Choosing the winners of the tune phase, which go to the confirm phase beside untuned arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.ledger import ArmRecord, Phase, State, TrialRecord, Winner
from indian_tune.optim.families import get_family
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.file.space import constants
from indian_tune.study.levels import candidates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.ledger import Ledger, LedgerReader
    from indian_tune.study.registered_study import RegisteredStudy


def freeze(study: RegisteredStudy[Ledger], *, anyway: bool = False) -> bool:
    """Freeze the winners of a tune phase that is over, and make the slots that confirm them.

    Where an arm is a response-matched control, the slots in which its level is searched are made
    too; `freeze_levels` goes on from there.

    Args:
        study: open for writing.
        anyway: whether to pass over tune trials that have failed, which the record then tells.

    Returns:
        Whether this call did it; ``False`` when they stood, or when tune trials are open or have
        failed.
    """
    if study.ledger.frozen(study.id):
        return False
    winners = choose_winners(study)
    configs = {winner.arm.name: winner.config for winner in winners}
    return study.ledger.freeze(
        study.id,
        winners,
        study.spec.protocol.confirming_seeds,
        candidates=candidates(study, configs),
        anyway=anyway,
    )


def choose_winners(study: RegisteredStudy[LedgerReader]) -> list[Winner]:
    """Return what every arm confirms but response-matched controls, in the order of the arms.

    A searched arm confirms its best complete tune trial: a pruned one was not trained to the end
    and a diverged one has no score of its own. Ties go to the lower index, which was asked for
    first. A fixed arm confirms its constants, and an arm of matched rate what follows from the
    winner of the arm it is matched to. An arm without a winner is left out.
    """
    winners: dict[str, Winner] = {}
    spec, arms = study.spec, study.ledger.arms(study.id)
    for arm in arms:
        section = spec.arm(arm.name)
        if section.fixed:
            winners[arm.name] = Winner(arm, constants(spec.space(arm.name)))
        elif section.searched and (best := best_trial(study.ledger, arm)) is not None:
            winners[arm.name] = Winner(arm, dict(best.config or {}), best)
    for arm in arms:
        source = spec.arm(arm.name).matched_rate_of
        if source in winners:
            winner = winners[source]
            winners[arm.name] = Winner(arm, matched_rate(winner.arm.optimizer, winner.config))
    return [winners[arm.name] for arm in arms if arm.name in winners]


def best_trial(ledger: LedgerReader, arm: ArmRecord) -> TrialRecord | None:
    """Return the best complete tune trial of an arm so far, ``None`` when there is none."""
    trials = ledger.trials(arm.study_id, phase=Phase.TUNE, arm_id=arm.id, states=(State.COMPLETE,))
    return min(
        (trial for trial in trials if trial.value is not None),
        key=lambda trial: (trial.value, trial.index),
        default=None,
    )


def matched_rate(optimizer: str, config: Mapping[str, float]) -> dict[str, float]:
    """Return SGD's configuration with the effective learning rate of another configuration.

    What belongs to the training stays as it is.

    Args:
        optimizer: family of the other arm, one that a rate can be matched to.
        config: of that arm, training parameters included.
    """
    own, training = split_training_parameters(config)
    match_rate = get_family(optimizer).match_rate
    assert match_rate is not None
    return {**match_rate(own), **training}
