"""A study in plain words: what it asks, and what it spends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.optim.hyperparameters import is_number, value_text
from indian_tune.outcome import ACCURACY
from indian_tune.study.file.space import Choices, Constant, Grid, Parameter, Range
from indian_tune.study.levels import LEVELS
from indian_tune.text import counted

if TYPE_CHECKING:
    from indian_tune.optim.hyperparameters import Value
    from indian_tune.outcome import Outcome
    from indian_tune.study.file.space import Space
    from indian_tune.study.file.spec import StudySpec

SCORES = {
    "validation_loss": "validation loss",
    "train_loss": "training loss",
    "seconds": "seconds of training",
}


def question(spec: StudySpec) -> str:
    """Return what a study asks: its description, or what its arms and problem say."""
    if spec.description:
        return spec.description
    names = [arm.name for arm in spec.arms]
    listed = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return (
        f"Which configuration of {listed} is best for {spec.problem.network_name} on "
        f"{spec.problem.data_name}, when every arm gets the same budget?"
    )


def budget_sentence(spec: StudySpec) -> str:
    """Return what every arm may spend, as registered, in one sentence."""
    protocol = spec.protocol
    searches = f"{spec.replicates} searches of " if spec.replicates > 1 else ""
    trials = sorted({spec.trials_of(arm.name) for arm in spec.arms if arm.searched})
    each = " to ".join(str(count) for count in (trials[0], trials[-1])[: len(trials)])
    text = (
        f"{searches}{each} trial{'s' * (trials[-1] != 1)} per arm × "
        f"{counted(len(protocol.tuning_seeds), 'tuning seed')} × "
        f"{counted(protocol.tuning_epochs, 'epoch')}, proposed by {spec.search.sampler}"
    )
    if spec.search.pruner.judges is not None:
        text += f" and pruned by {spec.search.pruner}"
    if protocol.finalists:
        further = len(protocol.final_seeds_of(0, spec.replicates))
        text += f"; then the best {protocol.finalists} on {counted(further, 'more tuning seed')}"
    if spec.matched_arms:
        text += (
            f"; then {len(LEVELS)} levels of every response-matched control on "
            f"{counted(len(protocol.matching_seeds), 'tuning seed')}"
        )
    fresh = len(protocol.confirming_seeds)
    if fresh:
        winner = "winner of every search" if searches else "winner of every arm"
        half = " and that of its first half" if spec.claims.half_budget else ""
        text += (
            f"; then the {winner}{half} on {counted(fresh, 'fresh seed')} × "
            f"{counted(protocol.epochs, 'epoch')}"
        )
    return f"{text}."


def score_name(spec: StudySpec) -> str:
    """Return what a trial is judged by, in words; lower is better."""
    return " and ".join(score_words(name, spec.problem.outcome) for name in spec.protocol.scores)


def judged_name(spec: StudySpec) -> str:
    """Return what a trial is judged by, in words, whether it is to be large or small."""
    return " and ".join(judged_words(name, spec.problem.outcome) for name in spec.protocol.scores)


def score_words(objective: str, outcome: Outcome = ACCURACY) -> str:
    """Return what a score is of, in words.

    Args:
        objective: as a study file names it.
        outcome: what runs are judged by.
    """
    if objective == "validation_error":
        if outcome.greater_is_better and not outcome.share:
            return f"{outcome.best:g} - validation {outcome.title}"
        return f"validation {outcome.error_title}"
    return SCORES.get(objective, objective.replace("_", " "))


def judged_words(objective: str, outcome: Outcome = ACCURACY) -> str:
    """Return what a score says of a run, in words: the metric itself where greater is better.

    Args:
        objective: as a study file names it, or the column of the metric.
        outcome: what runs are judged by.
    """
    if outcome.rises and objective in ("validation_error", f"validation_{outcome.name}"):
        return f"validation {outcome.title}"
    return score_words(objective, outcome)


def ranges(space: Space) -> dict[str, str]:
    """Return a space in words: hyperparameter → its range, list or value."""
    return {name: _range(parameter) for name, parameter in space.items()}


def _range(parameter: Parameter) -> str:
    match parameter:
        case Constant(value):
            return f"{_short(value)}, fixed"
        case Choices(values) | Grid(values):
            return f"one of {', '.join(map(_short, values))}"
        case Range(low, high, log):
            return f"{low:g} to {high:g}{', on a log scale' if log else ''}"


def _short(value: Value) -> str:
    return f"{value:g}" if is_number(value) else value_text(value)
