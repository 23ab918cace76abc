"""Scores of runs and trials under a study's objective; lower is better."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from indian_tune.ledger import State
from indian_tune.optim.families import get_family
from indian_tune.optim.stability import stability_limit
from indian_tune.study.file.parameters import split_training_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.ledger import RunRecord, TrialRecord
    from indian_tune.study.file.protocol import Objective
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training.run import EpochRecord

UNSTABLE_AT = 0.5
"""Curvature on which a first step should be stable. On digits and MNIST-5k, of 80 configurations
each, none in the best quarter was unstable on it, and a sixth of the worst quarter was."""
# How far from stability counts, as a logarithm: the limit may be 0.
FARTHEST = 10.0


def score(spec: StudySpec, record: EpochRecord) -> float:
    """Return the score of one run at one epoch; one that is not finite counts as chance."""
    return _score(spec, spec.protocol.score, record)


def objective_values(
    spec: StudySpec, runs: Sequence[RunRecord], epochs: Mapping[int, Sequence[EpochRecord]]
) -> list[float] | None:
    """Return what a finished trial is worth under each of several objectives; lower is better.

    Each is a mean over runs. A diverged run scores at chance level, and is charged the seconds
    that it would have taken had it gone on.

    Args:
        spec: of the study.
        runs: of the trial.
        epochs: records by run id, in order.

    Returns:
        A value per objective, ``None`` for a study that has only one.
    """
    if spec.protocol.objectives is None:
        return None
    values = []
    for name in spec.protocol.scores:
        if name == "seconds":
            values.append(statistics.fmean(_seconds(run, epochs.get(run.id, ())) for run in runs))
        else:
            values.append(
                statistics.fmean(
                    spec.chance_of(name)
                    if run.state is State.DIVERGED or not epochs.get(run.id)
                    else _score(spec, name, epochs[run.id][-1])
                    for run in runs
                )
            )
    return values


def constraints(
    spec: StudySpec,
    optimizer: str,
    trial: TrialRecord,
    runs: Sequence[RunRecord],
    epochs: Mapping[int, Sequence[EpochRecord]],
) -> dict[str, float]:
    """Return what a finished trial must fulfil to be a solution, for samplers that ask for it.

    Values above 0 are violations. ``trains``: the largest training error of its runs, as a share
    of that at chance level, less the share at which a run has not trained.
    ``stable``, of INDIAN: how far the largest curvature on which the first step is stable lies
    below :data:`UNSTABLE_AT`, as a logarithm.

    Args:
        spec: of the study.
        optimizer: family of the arm.
        trial: which was trained, or has failed.
        runs: of the trial.
        epochs: records by run id, in order.

    Returns:
        By name, the same names for every trial of an arm; empty unless ``search.untrained`` asks
        for them.
    """
    if spec.search.untrained == "score" or trial.config is None:
        return {}
    shares = [_error_share(spec, run, epochs.get(run.id, ())) for run in runs] or [1.0]
    found = {"trains": max(shares) - spec.problem.outcome.trained_share}
    family = get_family(optimizer)
    if family.adopt is not None:
        own, _ = split_training_parameters(trial.config)
        complete = family.complete(own)
        limit = stability_limit(*(complete[name] for name in ("alpha", "beta", "gamma0")))
        found["stable"] = math.log(UNSTABLE_AT / max(limit, UNSTABLE_AT * math.exp(-FARTHEST)))
    return found


def _error_share(spec: StudySpec, run: RunRecord, rows: Sequence[EpochRecord]) -> float:
    """Return a run's last training error as a share of that at chance, which divergence is."""
    if run.state is State.DIVERGED or not rows:
        return 1.0
    error = training_error(spec, rows[-1])
    return error / spec.chance_of("validation_error") if math.isfinite(error) else 1.0


def training_error(spec: StudySpec, record: EpochRecord) -> float:
    """Return the error that tells whether a run has trained: that on its training examples.

    A loop need not report that one: then it is the error on the validation examples.
    """
    outcome = spec.problem.outcome
    error: float = outcome.error(record.value(f"train_{outcome.name}"))
    if math.isnan(error):
        error = outcome.error(record.value(f"validation_{outcome.name}"))
    return error


def _seconds(run: RunRecord, rows: Sequence[EpochRecord]) -> float:
    spent = sum(row.seconds for row in rows)
    if run.state is State.DIVERGED and rows:
        return spent / len(rows) * run.epochs_planned
    return spent


def _score(spec: StudySpec, objective: Objective, record: EpochRecord) -> float:
    if objective == "validation_error":
        outcome = spec.problem.outcome
        value = outcome.error(record.value(f"validation_{outcome.name}"))
    else:
        value = record.value(objective)
    return value if math.isfinite(value) else spec.chance_of(objective)


def compares_seeds(spec: StudySpec) -> bool:
    """Whether the pruner compares trials seed by seed, so that seeds train one after another."""
    return spec.search.pruner.judges == "seeds"


def learning_curve(
    spec: StudySpec,
    runs: Sequence[RunRecord],
    epochs: Mapping[int, Sequence[EpochRecord]],
    *,
    over_seeds: bool,
) -> dict[int, float]:
    """Return what a trial reports to the pruner: step → score.

    The steps are epochs and the scores means over seeds; for a pruner that compares seeds, the
    steps are the places of the finished seeds and the scores their last ones. A diverged run
    counts at chance level from the epoch at which it diverged.

    Args:
        spec: of the study.
        runs: of the trial, by seed.
        epochs: records by run id, in order.
        over_seeds: whether the trial is one that such a pruner compares (not a confirm trial).
    """
    if over_seeds and compares_seeds(spec):
        return {
            place: spec.chance if run.state is State.DIVERGED else score(spec, epochs[run.id][-1])
            for place, run in enumerate(runs)
            if run.state in (State.COMPLETE, State.DIVERGED)
        }
    curves = []
    for run in runs:
        curve = [score(spec, row) for row in epochs.get(run.id, ())]
        if run.state is State.DIVERGED and curve:
            # It stops, while the other seeds continue.
            curve += [spec.chance] * (run.epochs_planned - len(curve))
        curves.append(curve)
    shortest = min((len(curve) for curve in curves), default=0)
    if all(run.state is State.DIVERGED for run in runs):
        shortest = max((run.epochs_done for run in runs), default=0)
    return {n + 1: statistics.fmean(curve[n] for curve in curves) for n in range(shortest)}
