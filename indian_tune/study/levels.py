"""The level of a response-matched control: what is tried, and how one is chosen.

The control takes the steps m·s_k, where s_k is what the frozen winner of its source moves on a
steady gradient. Without its level m tuned, a control half as fast or twice as fast as is best for
SGD would be taken for an effect of INDIAN.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from indian_tune.ledger import FROZEN, Phase, State, Winner
from indian_tune.optim.families import get_family
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.scoring import training_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.ledger import ArmRecord, Ledger, LedgerReader, RunRecord, TrialRecord
    from indian_tune.outcome import Outcome
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.study.registered_study import RegisteredStudy

LEVELS = (0.25, 0.5, 1.0, 2.0, 4.0)
# αβ = 1 up to the rounding of a product.
NULL_TOLERANCE = 1e-9
# Means of equal numbers of right answers differ by rounding alone.
DIGITS = 12


@dataclass(frozen=True)
class Tried:
    """What became of one level.

    Attributes:
        trial: index of the match trial.
        level: m.
        score: mean over runs on the validation examples at their last epoch, greater is better;
            ``None`` if a run has none.
        runs: how many there were.
        failed: how many of them diverged, or ended without having learnt.
    """

    trial: int
    level: float
    score: float | None
    runs: int
    failed: int

    def recorded(self, outcome: Outcome) -> dict[str, Any]:
        """Return it as it is recorded, with the metric in place of the score."""
        value = self.score
        if value is not None and not outcome.share:
            value = outcome.value(1 - value)
        values = {
            f"validation_{outcome.name}" if n == "score" else n: v for n, v in asdict(self).items()
        }
        return {**values, f"validation_{outcome.name}": value}


def candidates(
    study: RegisteredStudy[LedgerReader], winners: Mapping[tuple[str, int], Mapping[str, float]]
) -> list[Winner]:
    """Return the configurations that the match phase compares, by arm, search and level.

    None for a search whose source has no winner, or one with αβ = 1: its level is 1.

    Args:
        study: with its arms.
        winners: frozen configurations by the name of the arm and the replicate.
    """
    return [
        Winner(arm, {**control, "level": level}, replicate=replicate)
        for arm, source in _controls(study)
        for replicate in range(study.spec.replicates)
        if (control := _control(study.spec, source, winners.get((source, replicate)))) is not None
        and not is_null(control)
        for level in LEVELS
    ]


def control_of(optimizer: str, config: Mapping[str, float]) -> dict[str, float]:
    """Return the configuration of the control of a configuration, at level 1.

    What belongs to the training stays as it is.

    Args:
        optimizer: family of the source, one that has such a control.
        config: of the source, training parameters included.
    """
    own, training = split_training_parameters(config)
    complete = get_family(optimizer).complete(own)
    # Other defaults are the control's too.
    named = {*own, "gamma0", "alpha", "beta"}
    control = {name: value for name, value in complete.items() if name in named}
    return {**control, "level": 1.0, **training}


def is_null(config: Mapping[str, float]) -> bool:
    """Whether αβ = 1, where INDIAN is SGD with the step sizes of its control."""
    return math.isclose(config["alpha"] * config["beta"], 1.0, rel_tol=NULL_TOLERANCE)


def freeze_levels(study: RegisteredStudy[Ledger], *, anyway: bool = False) -> bool:
    """Freeze the levels of a match phase that is over, and make the slots that confirm them.

    Args:
        study: open for writing; its winners are frozen.
        anyway: whether to pass over match trials that have failed, which the record then tells.

    Returns:
        Whether this call did it; ``False`` when they were frozen already, or when match
        trials are open or have failed.
    """
    ledger, study_id, spec = study.ledger, study.id, study.spec
    if ledger.has_levels(study_id) or not ledger.frozen(study_id):
        return False
    # Before anything is read, see `freeze`.
    if ledger.open_trials(study_id, Phase.MATCH):
        return False
    frozen = ledger.events(study_id, FROZEN)[-1].data
    levels: dict[str, dict[str, Any]] = {}
    winners = []
    for arm, source in _controls(study):
        matches = ledger.matches(study_id, arm.id)
        for replicate in range(spec.replicates):
            winner = frozen["winners"].get(study.record.search_name(source, replicate))
            control = _control(spec, source, None if winner is None else winner["config"])
            trials = [trial for trial in matches if trial.replicate == replicate]
            record, config = _choose(ledger, spec, source, control, trials)
            levels[study.record.search_name(arm.name, replicate)] = record
            if config is not None:
                winners.append(Winner(arm, config, replicate=replicate))
    return ledger.freeze_levels(
        study_id, frozen["freezing"], levels, winners, spec.fresh_seeds, anyway=anyway
    )


def best_level(tried: Sequence[Tried]) -> Tried | None:
    """Return the level of the best mean validation score, at which no run has failed.

    Of equal ones that nearest to 1, by its ratio to 1, and of two as near the lower one. ``None``
    when runs have failed at every level.
    """
    return min(
        (each for each in tried if not each.failed and each.score is not None),
        key=lambda each: (
            -round(each.score or 0.0, DIGITS),
            abs(math.log(each.level)),
            each.level,
        ),
        default=None,
    )


def _controls(study: RegisteredStudy[LedgerReader]) -> list[tuple[ArmRecord, str]]:
    """Return every response-matched control with the arm it is the control of."""
    return [
        (arm, source)
        for arm in study.ledger.arms(study.id)
        if (source := study.spec.arm(arm.name).response_of) is not None
    ]


def _control(
    spec: StudySpec, source: str, winner: Mapping[str, float] | None
) -> dict[str, float] | None:
    return None if winner is None else control_of(spec.arm(source).optimizer, winner)


def _choose(
    ledger: LedgerReader,
    spec: StudySpec,
    source: str,
    control: dict[str, float] | None,
    trials: Sequence[TrialRecord],
) -> tuple[dict[str, Any], dict[str, float] | None]:
    """Return what is recorded of a control's level, and its configuration if it has one."""
    tried: list[Tried] = []
    reason: str | None = None
    level: float | None = 1.0
    if control is None:
        level, reason = None, f"arm {source!r} has no winner"
    elif is_null(control):
        reason = "αβ = 1, where the level is fixed"
    else:
        tried = [_tried(ledger, spec, trial) for trial in trials if trial.state is not State.FAILED]
        best = best_level(tried)
        level = None if best is None else best.level
        if best is None:
            reason = "a run failed at every level"
    config = None if control is None or level is None else {**control, "level": level}
    record = {
        "level": level,
        "config": config,
        "reason": reason,
        "tried": [each.recorded(spec.problem.outcome) for each in tried],
    }
    return record, config


def _tried(ledger: LedgerReader, spec: StudySpec, trial: TrialRecord) -> Tried:
    assert trial.phase is Phase.MATCH
    assert trial.config is not None
    runs = ledger.runs(trial.id)
    ends = [_end(ledger, spec, run) for run in runs]
    scores = [score for score, _ in ends if math.isfinite(score)]
    return Tried(
        trial=trial.index,
        level=trial.config["level"],
        score=statistics.fmean(scores) if len(scores) == len(runs) else None,
        runs=len(runs),
        failed=sum(failed for _, failed in ends),
    )


def _end(ledger: LedgerReader, spec: StudySpec, run: RunRecord) -> tuple[float, bool]:
    """Return a run's validation score at its end, and whether it failed."""
    rows = ledger.epochs(run.id)
    if run.state is not State.COMPLETE or not rows:
        return math.nan, True
    outcome = spec.problem.outcome
    limit = outcome.trained_error
    assert limit is not None
    failed = not training_error(spec, rows[-1]) <= limit
    return outcome.score(rows[-1].value(f"validation_{outcome.name}")), failed
