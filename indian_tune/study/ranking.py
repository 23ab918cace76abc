"""The arms of a study, best first: configuration, scores, and what it does in a first step."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from indian_tune.ledger import Phase, State
from indian_tune.optim.families import get_family
from indian_tune.study.edges import find_edges, place_of
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.file.space import Range
from indian_tune.study.space_history import latest_spaces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.ledger import (
        ArmProgress,
        ArmRecord,
        LedgerReader,
        StudyRecord,
        TrialRecord,
    )
    from indian_tune.optim.family import Meaning
    from indian_tune.study.edges import Edge
    from indian_tune.study.file.space import Space
    from indian_tune.training.run import EpochRecord


@dataclass(frozen=True)
class Metrics:
    """Means over runs at their last recorded epoch; ``None`` where nothing finite was measured.

    Attributes:
        runs: number of runs behind the means.
        validation_error: share of validation images classified wrongly.
        validation_error_std: sample standard deviation over runs; ``None`` for fewer than two.
        train_loss: mean cross-entropy in evaluation mode.
    """

    runs: int
    validation_error: float | None
    validation_error_std: float | None
    train_loss: float | None


@dataclass(frozen=True)
class ArmResult:
    """Where one arm stands.

    Attributes:
        name: of the arm.
        optimizer: key of its family.
        title: of the family, as shown to people.
        position: of the arm in the study file, from 0.
        tune: progress of the tune phase; ``None`` for an arm that is not tuned.
        match: progress of the match phase; ``None`` for an arm without one, or before it has slots.
        confirm: progress of the confirm phase; ``None`` before it has slots.
        level: what is recorded of the level of a response-matched control once it is frozen, see
            :meth:`LedgerReader.levels`.
        best_trial: index of the best complete tune trial so far.
        value: its score under the study's objective; lower is better.
        config: its configuration; of an arm that is not tuned, the one that it confirms.
        meaning: what that does in the first step.
        front: complete tune trials that no other beats under every objective, for a study that has
            several.
        edges: which of its values lie at an end of the range that was searched last.
        tuned: its metrics on the tuning seeds.
        confirmed: metrics of the same configuration on fresh seeds, diverged runs left out.
    """

    name: str
    optimizer: str
    title: str
    position: int
    tune: ArmProgress | None
    match: ArmProgress | None
    confirm: ArmProgress | None
    level: Mapping[str, Any] | None
    best_trial: int | None
    value: float | None
    config: Mapping[str, float] | None
    meaning: Meaning | None
    front: Sequence[TrialRecord]
    edges: Sequence[Edge]
    tuned: Metrics | None
    confirmed: Metrics | None


def rank(ledger: LedgerReader, study: StudyRecord) -> list[ArmResult]:
    """Return the arms of a study, best first.

    Best is by the score on the fresh seeds once every arm with a winner has finished there (a
    diverged run counts at chance level), and by the tuning score until then. Arms without a
    complete trial come last.
    """
    progress = ledger.progress(study.id)
    levels = ledger.levels(study.id)
    spaces = latest_spaces(ledger, study)
    several = study.spec["protocol"].get("objectives") is not None
    confirms = {part.arm.id: part for part in progress if part.phase is Phase.CONFIRM}
    results = [
        _result(
            ledger,
            arm,
            {part.phase: part for part in progress if part.arm.id == arm.id},
            levels.get(arm.name),
            spaces[arm.name],
            several,
        )
        for arm in ledger.arms(study.id)
    ]
    scores = {result.name: result.value for result in results}
    if confirms and all(part.finished == part.total for part in confirms.values()):
        means = {part.arm.name: _confirm_score(ledger, part) for part in confirms.values()}
        scores = {name: means.get(name) for name in scores}
    return sorted(
        results, key=lambda result: (scores[result.name] is None, scores[result.name] or 0.0)
    )


def meaning_of(optimizer: str, config: Mapping[str, float]) -> Meaning:
    """Return what a configuration does in the first step of its optimizer."""
    own, _ = split_training_parameters(config)
    return get_family(optimizer).meaning(own)


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


def _result(
    ledger: LedgerReader,
    arm: ArmRecord,
    parts: Mapping[Phase, ArmProgress],
    level: Mapping[str, Any] | None,
    space: Space,
    several: bool,
) -> ArmResult:
    tune, confirm = parts.get(Phase.TUNE), parts.get(Phase.CONFIRM)
    if level is not None and level["level"] is None:
        # What it has confirmed was of a winner that was overtaken.
        confirm = None
    best = None
    if tune is not None and tune.best_trial is not None:
        best = ledger.find_trial(arm.id, Phase.TUNE, tune.best_trial)
    config = None if best is None else best.config
    if tune is None and confirm is not None:
        config = ledger.confirms(arm.study_id, arm.id)[0].config
    confirmed = None
    if confirm is not None and confirm.counts.get(State.COMPLETE):
        confirmed = _metrics(
            ledger.last_epochs(
                [
                    trial.id
                    for trial in ledger.confirms(arm.study_id, arm.id)
                    if trial.state is State.COMPLETE and trial.config == config
                ]
            )
        )
    return ArmResult(
        name=arm.name,
        optimizer=arm.optimizer,
        title=get_family(arm.optimizer).title,
        position=arm.position,
        tune=tune,
        match=parts.get(Phase.MATCH),
        confirm=confirm,
        level=level,
        best_trial=None if best is None else best.index,
        value=None if best is None else best.value,
        config=config,
        meaning=None if config is None else meaning_of(arm.optimizer, config),
        front=pareto_front(
            ledger.trials(arm.study_id, phase=Phase.TUNE, arm_id=arm.id, states=(State.COMPLETE,))
        )
        if several
        else [],
        edges=[] if config is None or tune is None else find_edges(arm.optimizer, space, config),
        tuned=None if best is None else _metrics(ledger.last_epochs([best.id])),
        confirmed=confirmed,
    )


def _confirm_score(ledger: LedgerReader, confirm: ArmProgress) -> float | None:
    trials = ledger.confirms(confirm.arm.study_id, confirm.arm.id)
    values = [trial.value for trial in trials if trial.value is not None]
    return statistics.fmean(values) if values else None


def _metrics(epochs: Sequence[EpochRecord]) -> Metrics:
    errors = [1 - a for e in epochs if isfinite(a := e.value("validation_accuracy"))]
    losses = [loss for e in epochs if isfinite(loss := e.value("train_loss"))]
    return Metrics(
        runs=len(epochs),
        validation_error=statistics.fmean(errors) if errors else None,
        validation_error_std=statistics.stdev(errors) if len(errors) > 1 else None,
        train_loss=statistics.fmean(losses) if losses else None,
    )


def _dominates(first: TrialRecord, second: TrialRecord) -> bool:
    ours, theirs = first.scores or (), second.scores or ()
    pairs = list(zip(ours, theirs, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def winner_places(
    ledger: LedgerReader, study: StudyRecord
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return where the winner of every arm lies in the ranges that it was searched over.

    Returns:
        arm → hyperparameter → place in [0, 1] on the scale of the search. A place at an end beyond
        which the hyperparameter has no meaning is given as 0.5: it is at no edge.
    """
    spaces = latest_spaces(ledger, study)
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for result in rank(ledger, study):
        known = get_family(result.optimizer).hyperparameters
        found[result.name] = {
            name: (place_of(known.get(name), parameter, (result.config or {})[name]),)
            for name, parameter in spaces.get(result.name, {}).items()
            if isinstance(parameter, Range) and name in (result.config or {})
        }
    return found
