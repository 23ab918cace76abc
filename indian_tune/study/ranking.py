"""The arms of a study, best first: configuration, scores, and what it does in a first step."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Self

from indian_tune.ledger import Phase, State
from indian_tune.optim.families import get_family
from indian_tune.outcome import ACCURACY, outcome_of
from indian_tune.problems.catalog import get_dataset_info
from indian_tune.study.completion import path_of
from indian_tune.study.edges import find_edges
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.finalists import leading
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
    from indian_tune.optim.family import Dynamics
    from indian_tune.outcome import Outcome
    from indian_tune.study.edges import Edge
    from indian_tune.study.file.space import Space
    from indian_tune.training.run import EpochRecord


@dataclass(frozen=True)
class Metrics:
    """Means over runs at their last recorded epoch; ``None`` where nothing finite was measured.

    Where an arm has several searches they are means of the means of each.

    Attributes:
        runs: number of runs behind the means.
        validation_error: of the outcome on the validation examples: of classification the share
            that is classified wrongly.
        validation_error_std: sample standard deviation over runs, or over searches where there are
            several; ``None`` for fewer than two.
        train_loss: mean loss in evaluation mode.
        train_error: of the outcome on the training examples.
    """

    runs: int
    validation_error: float | None
    validation_error_std: float | None
    train_loss: float | None
    train_error: float | None


@dataclass(frozen=True)
class SearchResult:
    """The state of one search of an arm.

    Attributes:
        replicate: which search, from 0.
        best_trial: index of the best complete tune trial so far.
        value: its score under the study's objective; lower is better.
        config: its configuration; of an arm that is not tuned, the one that it confirms.
    """

    replicate: int
    best_trial: int | None
    value: float | None
    config: Mapping[str, float] | None


@dataclass(frozen=True)
class Untrained:
    """A run on a fresh seed that diverged, or ended hardly better than chance.

    Attributes:
        path: of its trial, as `indian-tune show` takes it.
        seed: of the run.
    """

    path: str
    seed: int


@dataclass(frozen=True)
class ArmResult:
    """The state of one arm.

    Attributes:
        name: of the arm.
        optimizer: key of its family.
        title: of the family, as shown to people.
        position: of the arm in the study file, from 0.
        tune: progress of the tune phase; ``None`` for an arm that is not tuned.
        match: progress of the match phase; ``None`` for an arm without one, or before it has slots.
        confirm: progress of the confirm phase; ``None`` before it has slots.
        half: progress on the fresh seeds of the winners of half the budget; ``None`` without slots.
        level: what is recorded of the level of a response-matched control once it is frozen, see
            :meth:`LedgerReader.levels`; of several searches, that of the best.
        levels: the same of every search, by replicate.
        searches: every search of the arm that has a configuration.
        best_trial: index of the best complete tune trial so far; of several searches, of the best.
        value: its score under the study's objective; lower is better. Over several searches, the
            mean of the best of each.
        config: its configuration; of an arm that is not tuned, the one that it confirms.
        dynamics: what that does in the first step.
        front: complete tune trials that no other beats under every objective, for a study that has
            several.
        edges: which of its values lie at an end of the range that was searched last; of several
            searches, where more than half of the winners do.
        tuned: its metrics on the tuning seeds.
        confirmed: metrics of the same configuration on fresh seeds, diverged runs left out.
        trained: whether the best trial ended clearly better than chance; ``None`` where neither
            its training nor its validation error is known.
        fresh: how many runs of the present winners on fresh seeds have ended, those that failed
            left out.
        untrained: those of them that did not train, by the training error where it is known.
        former: how many trials on fresh seeds are of winners that were overtaken after an
            extension; ``confirm`` counts them, the results do not.
    """

    name: str
    optimizer: str
    title: str
    position: int
    tune: ArmProgress | None
    match: ArmProgress | None
    half: ArmProgress | None
    confirm: ArmProgress | None
    level: Mapping[str, Any] | None
    levels: Mapping[int, Mapping[str, Any]]
    searches: Sequence[SearchResult]
    best_trial: int | None
    value: float | None
    config: Mapping[str, float] | None
    dynamics: Dynamics | None
    front: Sequence[TrialRecord]
    edges: Sequence[Edge]
    tuned: Metrics | None
    confirmed: Metrics | None
    trained: bool | None
    fresh: int
    untrained: Sequence[Untrained]
    former: int


def rank(ledger: LedgerReader, study: StudyRecord) -> list[ArmResult]:
    """Return the arms of a study, best first.

    Best is by the score on the fresh seeds once every arm with a winner has finished there (a
    diverged run counts at chance level), and by the tuning score until then. Arms without a
    complete trial come last.
    """
    progress = ledger.progress(study.id)
    known = _Known.read(ledger, study)
    several = study.spec["protocol"].get("objectives") is not None
    confirms = {part.arm.id: part for part in progress if part.phase is Phase.CONFIRM}
    results = [
        _result(
            ledger,
            arm,
            {part.phase: part for part in progress if part.arm.id == arm.id},
            known,
            several,
        )
        for arm in ledger.arms(study.id)
    ]
    scores = {result.name: result.value for result in results}
    if confirms and all(part.finished == part.total for part in confirms.values()):
        means = {part.arm.name: _confirm_score(known, part) for part in confirms.values()}
        scores = {name: means.get(name) for name in scores}
    return sorted(
        results, key=lambda result: (scores[result.name] is None, scores[result.name] or 0.0)
    )


@dataclass(frozen=True)
class _Known:
    """What is read once for all arms: by the id of the arm and the replicate.

    Attributes:
        study: the study.
        leaders: best tune trials.
        confirms: trials on fresh seeds of the present winners.
        levels: what is recorded of the levels of controls.
        spaces: that are searched last, by the name of the arm.
        last: last epochs of leaders and confirms, by trial.
        outcome: what runs are judged by, with its chance where that is known.
        untrained: the seeds of runs on fresh seeds that did not train, by trial.
    """

    study: StudyRecord
    leaders: Mapping[tuple[int, int], TrialRecord]
    confirms: Mapping[tuple[int, int], Sequence[TrialRecord]]
    levels: Mapping[str, Mapping[str, Any]]
    spaces: Mapping[str, Space]
    last: Mapping[int, Sequence[EpochRecord]]
    outcome: Outcome
    untrained: Mapping[int, Sequence[int]]

    @classmethod
    def read(cls, ledger: LedgerReader, study: StudyRecord) -> Self:
        leaders = leading(ledger, study)
        confirms: dict[tuple[int, int], list[TrialRecord]] = {}
        for trial in ledger.confirms(study.id):
            confirms.setdefault((trial.arm_id, trial.replicate), []).append(trial)
        shown = [*leaders.values(), *(trial for trials in confirms.values() for trial in trials)]
        last, outcome = ledger.last_epochs([trial.id for trial in shown]), _outcome(study)
        lost = {
            trial.id
            for trials in confirms.values()
            for trial in trials
            if trial.state is State.DIVERGED
            or (trial.state is State.COMPLETE and _stuck(last[trial.id], outcome))
        }
        untrained: dict[int, list[int]] = {}
        for run in ledger.study_runs(study.id, Phase.CONFIRM) if lost else ():
            if run.trial_id in lost:
                untrained.setdefault(run.trial_id, []).append(run.seed)
        return cls(
            study,
            leaders,
            confirms,
            ledger.levels(study.id),
            latest_spaces(ledger, study),
            last,
            outcome,
            untrained,
        )


def dynamics_of(optimizer: str, config: Mapping[str, float]) -> Dynamics:
    """Return what a configuration does in the first step of its optimizer."""
    own, _ = split_training_parameters(config)
    return get_family(optimizer).dynamics(own)


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
    known: _Known,
    several: bool,
) -> ArmResult:
    tune, confirm = parts.get(Phase.TUNE), parts.get(Phase.CONFIRM)
    replicates = range(known.study.replicates)
    levels = {
        replicate: level
        for replicate in replicates
        if (level := known.levels.get(known.study.search_name(arm.name, replicate))) is not None
    }
    if levels and all(level["level"] is None for level in levels.values()):
        # What it has confirmed was of winners that were overtaken.
        confirm = None
    searches = [
        search for replicate in replicates if (search := _search(arm, tune, replicate, known))
    ]
    space = known.spaces[arm.name]
    edges = [
        find_edges(arm.optimizer, space, search.config or {})
        for search in searches
        if tune is not None
    ]
    best = searches[0] if searches else None
    if tune is not None and tune.best_replicate is not None:
        best = next(each for each in searches if each.replicate == tune.best_replicate)
    tuned = [
        known.last[leader.id]
        for replicate in replicates
        if (leader := known.leaders.get((arm.id, replicate))) is not None
    ]
    fresh = [
        [
            trial
            for trial in known.confirms.get((arm.id, search.replicate), ())
            if trial.state in (State.COMPLETE, State.DIVERGED) and trial.config == search.config
        ]
        for search in searches
    ]
    confirmed = [
        [
            epoch
            for trial in trials
            if trial.state is State.COMPLETE
            for epoch in known.last[trial.id]
        ]
        for trials in fresh
    ]
    confirmed = [epochs for epochs in confirmed if epochs]
    values = [search.value for search in searches if search.value is not None]
    config = None if best is None else best.config
    metrics = _metrics(tuned, known.outcome) if tuned else None
    return ArmResult(
        name=arm.name,
        optimizer=arm.optimizer,
        title=get_family(arm.optimizer).title,
        position=arm.position,
        tune=tune,
        match=parts.get(Phase.MATCH),
        half=parts.get(Phase.HALF),
        confirm=confirm,
        level=levels.get(0 if best is None else best.replicate),
        levels=levels,
        searches=searches,
        best_trial=None if best is None else best.best_trial,
        value=statistics.fmean(values) if values else None,
        config=config,
        dynamics=None if config is None else dynamics_of(arm.optimizer, config),
        front=pareto_front(
            ledger.trials(arm.study_id, phase=Phase.TUNE, arm_id=arm.id, states=(State.COMPLETE,))
        )
        if several
        else [],
        edges=_common_edges(edges, len(replicates)),
        tuned=metrics,
        confirmed=_metrics(confirmed, known.outcome) if confirm is not None and confirmed else None,
        trained=None if metrics is None else _trained(metrics, known.outcome.trained_error),
        fresh=sum(map(len, fresh)),
        untrained=[
            Untrained(path_of(known.study, arm.name, trial), seed)
            for trials in fresh
            for trial in trials
            for seed in known.untrained.get(trial.id, ())
        ],
        former=0
        if confirm is None
        else confirm.total
        - sum(len(known.confirms.get((arm.id, replicate), ())) for replicate in replicates),
    )


def _outcome(study: StudyRecord) -> Outcome:
    """Return what runs are judged by, with its chance."""
    outcome, problem = outcome_of(study.spec), study.spec["problem"]
    if outcome != ACCURACY:
        return outcome
    facts = problem.get("facts")
    classes = facts["classes"] if facts else get_dataset_info(problem["dataset"]).classes
    return replace(outcome, chance=1 - 1 / classes)


def _trained(metrics: Metrics, limit: float | None) -> bool | None:
    error = metrics.validation_error if metrics.train_error is None else metrics.train_error
    return None if error is None or limit is None else error <= limit


def _stuck(epochs: Sequence[EpochRecord], outcome: Outcome) -> bool:
    """Whether a run ended too near to chance level on its training examples."""
    limit = outcome.trained_error
    if limit is None:
        return False
    errors = [outcome.error(epoch.value(f"train_{outcome.name}")) for epoch in epochs]
    return any(error > limit for error in errors)


def _search(
    arm: ArmRecord, tune: ArmProgress | None, replicate: int, known: _Known
) -> SearchResult | None:
    """Return the state of one search, ``None`` while it has no configuration to show."""
    best = known.leaders.get((arm.id, replicate))
    if best is not None:
        return SearchResult(replicate, best.index, best.value, best.config)
    trials = known.confirms.get((arm.id, replicate), ())
    if tune is not None or not trials:
        return None
    return SearchResult(replicate, None, None, trials[0].config)


def _common_edges(edges: Sequence[Sequence[Edge]], replicates: int) -> list[Edge]:
    """Return the ends at which more than half of the winners of all searches lie.

    One that several winners lie at is shown with the value of the first of them.
    """
    ends: dict[tuple[str, bool], list[Edge]] = {}
    for each in edges:
        for edge in each:
            ends.setdefault((edge.name, edge.next_low < edge.low), []).append(edge)
    return [found[0] for found in ends.values() if len(found) > replicates / 2]


def _confirm_score(known: _Known, confirm: ArmProgress) -> float | None:
    values = [
        [trial.value for trial in trials if trial.value is not None]
        for (arm_id, _), trials in known.confirms.items()
        if arm_id == confirm.arm.id
    ]
    means = [statistics.fmean(each) for each in values if each]
    return statistics.fmean(means) if means else None


def _metrics(searches: Sequence[Sequence[EpochRecord]], outcome: Outcome) -> Metrics:
    """Return the metrics of one search, or the means over several."""

    def values(name: str) -> list[list[float]]:
        return [[a for e in epochs if isfinite(a := e.value(name))] for epochs in searches]

    def errors(split: str) -> list[list[float]]:
        return [[outcome.error(a) for a in each] for each in values(f"{split}_{outcome.name}")]

    found = errors("validation")
    spread = found[0] if len(found) == 1 else [statistics.fmean(each) for each in found if each]
    return Metrics(
        runs=sum(map(len, searches)),
        validation_error=_mean(found),
        validation_error_std=statistics.stdev(spread) if len(spread) > 1 else None,
        train_loss=_mean(values("train_loss")),
        train_error=_mean(errors("train")),
    )


def _mean(searches: Sequence[Sequence[float]]) -> float | None:
    means = [statistics.fmean(values) for values in searches if values]
    return statistics.fmean(means) if means else None


def _dominates(first: TrialRecord, second: TrialRecord) -> bool:
    ours, theirs = first.scores or (), second.scores or ()
    pairs = list(zip(ours, theirs, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
