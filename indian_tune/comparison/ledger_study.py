"""Runs of a study of ours: its winners on the fresh seeds, and the search before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import InputError, SealedError
from indian_tune.study.examples import shared_examples

if TYPE_CHECKING:
    import pandas as pd

    from indian_tune.comparison.metric_names import Better
    from indian_tune.ledger import LedgerReader, StudyRecord

SPLITS = ("test_", "validation_", "train_")


@dataclass(frozen=True)
class StudyRuns:
    """What a study has to compare.

    Attributes:
        frame: a row per run and epoch of the phase confirm.
        metric: that was asked for, or the best that is open.
        better: "lower" or "higher"; ``None`` where only the metric's name says it.
        trials: of the search: columns arm, replicate, trial, value.
        trials_of: what their value is of, and its direction.
        delta: smallest effect of interest that the study registered, of what it is judged by.
        notes: what to know, a sentence each.
        began: when the first run on a fresh seed began; ``None`` if unknown.
        examples: see :class:`~indian_tune.comparison.runs.Runs`.
    """

    frame: pd.DataFrame
    metric: str
    better: Better | None
    trials: pd.DataFrame
    trials_of: tuple[str, Better]
    delta: float | None
    notes: tuple[str, ...]
    began: pd.Timestamp | None
    examples: int | None


def read_study(ledger: LedgerReader, record: StudyRecord, metric: str | None) -> StudyRuns:
    """Return the runs of a study; nothing is opened that is sealed.

    Args:
        ledger: that holds it.
        record: the study.
        metric: a column of its epochs, or a metric without its split: on the test data if they are
            open, else on the validation data; ``None`` for what the study is judged by.

    Raises:
        InputError: it has no runs on fresh seeds, or no values of the metric.
        SealedError: the metric is sealed.
    """
    from indian_tune.analysis.ends import stuck
    from indian_tune.ledger import Phase, command_line
    from indian_tune.ledger.frames import epoch_frame, trial_frame
    from indian_tune.ledger.slots import UNSEALED
    from indian_tune.study import RegisteredStudy

    spec = RegisteredStudy.open(ledger, record).spec
    opened = [event.at for event in ledger.events(record.id, UNSEALED)]
    unsealed = bool(opened)
    if metric is not None and metric.startswith("test_") and not unsealed:
        raise SealedError(
            f"{metric} of study {record.name!r} is sealed: compare a validation metric, or open "
            f"the test results with `{command_line(ledger.address, 'analyze', record.name)}`"
        )
    frame = epoch_frame(ledger, record.id, Phase.CONFIRM, sealed=unsealed)
    if frame.empty:
        raise InputError(
            f"study {record.name!r} has no runs on fresh seeds yet: compare after its search is "
            "finished"
        )
    notes = []
    outcome = spec.problem.outcome
    split = "test_" if unsealed else "validation_"
    if metric is None:
        metric = split + outcome.name
        notes.append(
            f"Test results are compared: they were opened at {min(opened):%Y-%m-%d %H:%M} UTC. "
            f"--metric validation_{outcome.name} compares validation results."
            if opened
            else "Test results are sealed: validation results are compared."
        )
    elif metric not in frame and split + metric in frame:
        metric = split + metric
    there = [name for name in map(str, frame) if name.startswith(SPLITS)]
    there = [name for name in there if frame[name].notna().any()]
    # Without values of any metric all runs have diverged.
    if there and (metric not in frame or not frame[metric].notna().any()):
        raise InputError(
            f"study {record.name!r} has no values of {metric}: choose another metric with "
            f"--metric ({', '.join(there)})"
        )
    train = outcome.column("train_accuracy")
    if train in frame and frame[train].notna().any():
        keys = [name for name in ("arm", "replicate", "seed") if name in frame]
        last = frame.sort_values("epoch").groupby(keys, sort=False).tail(1)
        scores = outcome.score(last[train].to_numpy(float))
        lost = last[stuck(scores, outcome.trained_score)]
        marked = frame[keys].apply(tuple, axis=1).isin(lost[keys].apply(tuple, axis=1))
        frame.loc[marked, "run_state"] = "diverged"
    tuned = trial_frame(ledger, record.id, Phase.TUNE, objective=spec.protocol.score)
    trials = tuned.rename(columns={"score": "value"})
    trials.loc[~trials["trial_state"].isin(["complete", "pruned"]), "value"] = float("nan")
    scored: tuple[str, Better] = (spec.protocol.score, "lower")
    if spec.protocol.score == "validation_error" and not outcome.share:
        # People know the metric, and no error of it.
        trials["value"] = outcome.value(trials["value"])
        scored = (f"validation_{outcome.name}", "higher" if outcome.greater_is_better else "lower")
    if "replicate" not in trials:
        trials["replicate"] = 0
    judged = metric in [split + outcome.name for split in SPLITS]
    return StudyRuns(
        frame=frame,
        metric=metric,
        better=("higher" if outcome.greater_is_better else "lower") if judged else None,
        trials=trials[["arm", "replicate", "trial", "value"]],
        trials_of=scored,
        delta=spec.claims.delta if judged else None,
        notes=tuple(notes),
        began=_began(trial_frame(ledger, record.id, Phase.CONFIRM)),
        examples=shared_examples(spec, metric),
    )


def _began(trials: pd.DataFrame) -> pd.Timestamp | None:
    import pandas as pd

    times = pd.to_datetime(trials["started_at"], utc=True).dropna()
    return None if times.empty else times.min()
