"""Choosing the winners of the tune phase, which go to the confirm phase beside untuned arms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.ledger import Phase, Winner
from indian_tune.optim.families import get_family
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.file.space import constants
from indian_tune.study.finalists import call_finalists, leading
from indian_tune.study.levels import candidates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.ledger import Ledger, LedgerReader
    from indian_tune.study.registered_study import RegisteredStudy


def freeze(study: RegisteredStudy[Ledger], *, anyway: bool = False) -> bool:
    """Freeze the winners of a tune phase that is over, and make the slots that confirm them.

    Where an arm is a response-matched control, the slots in which its level is searched are made
    too; `freeze_levels` continues from there.

    Args:
        study: open for writing.
        anyway: whether to pass over tune trials that have failed, which the record then tells.

    Returns:
        Whether this call did it; ``False`` when they were frozen already, or when tune
        trials are open or have failed.
    """
    if study.ledger.frozen(study.id) or call_finalists(study, anyway=anyway):
        return False
    # Asked before anything is read: a trial that is added, or ends, while winners are chosen would
    # be missing among them, and yet no longer be open when they are recorded.
    changes = study.ledger.changes(study.id)
    if any(study.ledger.open_trials(study.id, phase) for phase in (Phase.TUNE, Phase.FINAL)):
        return False
    winners = choose_winners(study)
    configs = {(winner.arm.name, winner.replicate): winner.config for winner in winners}
    return study.ledger.freeze(
        study.id,
        winners,
        study.spec.fresh_seeds,
        candidates=candidates(study, configs),
        halves=choose_halves(study) if study.spec.claims.half_budget else None,
        changes=changes,
        anyway=anyway,
    )


def choose_winners(study: RegisteredStudy[LedgerReader]) -> list[Winner]:
    """Return what every search confirms but those of response-matched controls, in their order.

    A searched arm confirms its best complete tune trial: a pruned one was not trained to the end
    and a diverged one has no score of its own. Ties go to the lower index, which was asked for
    first; where there are finalists, the best of them is confirmed, see :func:`leading`. A fixed
    arm confirms its constants, and an arm of matched rate what follows from the winner of the arm
    it is matched to. A search without a winner is left out.
    """
    winners: dict[tuple[str, int], Winner] = {}
    spec, arms = study.spec, study.ledger.arms(study.id)
    leaders = leading(study.ledger, study.record)
    searches = [(arm, replicate) for arm in arms for replicate in range(spec.replicates)]
    for arm, replicate in searches:
        section = spec.arm(arm.name)
        best = leaders.get((arm.id, replicate))
        if section.fixed:
            config = constants(spec.space(arm.name))
            winners[arm.name, replicate] = Winner(arm, config, replicate=replicate)
        elif section.searched and best is not None:
            winners[arm.name, replicate] = Winner(arm, dict(best.config or {}), best, replicate)
    for arm, replicate in searches:
        source = winners.get((str(spec.arm(arm.name).matched_rate_of), replicate))
        if source is not None:
            config = matched_rate(source.arm.optimizer, source.config)
            winners[arm.name, replicate] = Winner(arm, config, replicate=replicate)
    order = [(arm.name, replicate) for arm, replicate in searches]
    return [winners[search] for search in order if search in winners]


def choose_halves(study: RegisteredStudy[LedgerReader]) -> list[Winner]:
    """Return the best complete tune trial of the first half of every search, in their order.

    An odd number of trials is halved downwards. A search with none in its first half is left out.
    """
    ledger, study_id = study.ledger, study.id
    arms = {arm.id: arm for arm in ledger.arms(study_id)}
    halves = {
        arm_id: ledger.count_trials(study_id, phase=Phase.TUNE, arm_id=arm_id, replicate=0) // 2
        for arm_id in arms
    }
    leaders = ledger.leaders(study_id, halves)
    return [
        Winner(arms[arm_id], dict(best.config or {}), best, replicate)
        for arm_id in arms
        for replicate in range(study.spec.replicates)
        if (best := leaders.get((arm_id, replicate))) is not None
    ]


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
