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

TEST, VALIDATION = "test_accuracy", "validation_accuracy"


@dataclass(frozen=True)
class StudyRuns:
    """What a study has to compare.

    Attributes:
        frame: a row per run and epoch of the phase confirm.
        metric: that was asked for, or the best that is open.
        trials: of the search: columns arm, replicate, trial, value.
        trials_of: what their value is of, and its direction.
        delta: smallest effect of interest that the study registered, of accuracies and errors.
        notes: what to know, a sentence each.
        began: when the first run on a fresh seed began; ``None`` if unknown.
        examples: see :class:`~indian_tune.comparison.runs.Runs`.
    """

    frame: pd.DataFrame
    metric: str
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
        metric: a column of its epochs; ``None`` for test accuracy if it is open, else validation
            accuracy.

    Raises:
        InputError: it has no runs on fresh seeds.
        SealedError: the metric is sealed.
    """
    from indian_tune.analysis.ends import stuck
    from indian_tune.ledger import Phase
    from indian_tune.ledger.frames import epoch_frame, trial_frame
    from indian_tune.ledger.slots import UNSEALED
    from indian_tune.study import RegisteredStudy

    spec = RegisteredStudy.open(ledger, record).spec
    opened = [event.at for event in ledger.events(record.id, UNSEALED)]
    unsealed = bool(opened)
    if metric is not None and metric.startswith("test_") and not unsealed:
        raise SealedError(
            f"{metric} of study {record.name!r} is sealed: compare a validation metric, or open "
            f"the test results with `indian-tune analyze {record.name}`"
        )
    frame = epoch_frame(ledger, record.id, Phase.CONFIRM, sealed=unsealed)
    if frame.empty:
        raise InputError(
            f"study {record.name!r} has no runs on fresh seeds yet: compare after its search is "
            "finished"
        )
    notes = []
    if metric is None:
        metric = TEST if unsealed else VALIDATION
        notes.append(
            f"Test results are compared: they were opened at {min(opened):%Y-%m-%d %H:%M} UTC. "
            f"--metric {VALIDATION} compares validation results."
            if opened
            else "Test results are sealed: validation results are compared."
        )
    known = [name for name in (TEST, VALIDATION, "train_accuracy") if name in frame]
    if metric in frame and not frame[metric].notna().any() and known:
        raise InputError(
            f"study {record.name!r} has no values of {metric}: choose another metric with --metric"
        )
    if "train_accuracy" in frame and frame["train_accuracy"].notna().any():
        keys = [name for name in ("arm", "replicate", "seed") if name in frame]
        last = frame.sort_values("epoch").groupby(keys, sort=False).tail(1)
        chance = 1 - spec.chance_of("validation_error")
        lost = last[stuck(last["train_accuracy"].to_numpy(float), chance)]
        marked = frame[keys].apply(tuple, axis=1).isin(lost[keys].apply(tuple, axis=1))
        frame.loc[marked, "run_state"] = "diverged"
    tuned = trial_frame(ledger, record.id, Phase.TUNE, objective=spec.protocol.score)
    trials = tuned.rename(columns={"score": "value"})
    trials.loc[~trials["trial_state"].isin(["complete", "pruned"]), "value"] = float("nan")
    if "replicate" not in trials:
        trials["replicate"] = 0
    shares = metric.endswith(("accuracy", "error"))
    return StudyRuns(
        frame=frame,
        metric=metric,
        trials=trials[["arm", "replicate", "trial", "value"]],
        trials_of=(spec.protocol.score, "lower"),
        delta=spec.claims.delta if shares else None,
        notes=tuple(notes),
        began=_began(trial_frame(ledger, record.id, Phase.CONFIRM)),
        examples=shared_examples(spec, metric),
    )


def _began(trials: pd.DataFrame) -> pd.Timestamp | None:
    import pandas as pd

    times = pd.to_datetime(trials["started_at"], utc=True).dropna()
    return None if times.empty else times.min()
