"""Tidy data frames of a study, for the analysis. Loads pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from indian_tune.columns import config_columns, prefixed
from indian_tune.ledger.states import Phase
from indian_tune.optim.hyperparameters import is_number, value_text
from indian_tune.outcome import metrics_of
from indian_tune.training.metrics import OPEN, SEALED, metric_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from indian_tune.ledger.reader import LedgerReader
    from indian_tune.ledger.records import RunRecord, StudyRecord, TrialRecord

    _Key = tuple[int, tuple[dict[str, Any], TrialRecord]]

_KEYS = ("study", "arm", "optimizer", "phase", "trial", "trial_state", "run_state", "seed")
# A column after the phase where every arm has several searches.
_REPLICATE = "replicate"


def epoch_frame(
    ledger: LedgerReader,
    study_id: int,
    phase: Phase | None = None,
    *,
    sealed: bool = False,
    objective: str | None = None,
) -> pd.DataFrame:
    """Return the metrics of a study, one row per run and epoch.

    Columns: study, arm, optimizer, phase, replicate where every arm has several searches, trial,
    trial_state, run_state, seed, epoch, step, train_loss, train_accuracy, validation_loss,
    validation_accuracy and any other metric that was recorded, seconds; test_loss and test_accuracy
    if ``sealed``; objective and score, of the whole trial, as in ``trial_frame``; and one per
    hyperparameter, ``config.alpha``. Losses are mean cross-entropies, accuracies shares in [0, 1];
    a task that is no classification has its own metrics in place of accuracies. NaN where a value
    was not finite. What a winner did on the fresh seeds that was overtaken after an extension of
    the study is not in it, nor are the levels that its control was tried at.

    Where the claims ask for the winners of half the budget, each has rows of the phase ``half``. If
    it won its whole search too it was not trained again, and they repeat the rows of the phase
    ``confirm``.

    Args:
        ledger: to read from.
        study_id: of the study.
        phase: which phase; all by default.
        sealed: whether to add the test metrics.
        objective: name of what trials are scored by, ``protocol.score`` of the study's file.

    Raises:
        SealedError: the test metrics are asked for and nobody has unsealed them.
    """
    epochs = ledger.study_epochs(study_id, _stored(phase), sealed=sealed)
    # Not in the order in which runs were begun, which differs from one search to the next.
    keys = list(_keys(ledger, study_id, phase))
    records = [(key, each) for run_id, key in keys for each in epochs.get(run_id, ())]
    known = metrics_of(_study(ledger, study_id).spec)
    names = _columns(OPEN, known, (each.metrics for _, each in records))
    tests = _columns(SEALED, known, (each.sealed for _, each in records)) if sealed else {}
    rows = [
        {
            **run,
            "epoch": each.epoch,
            "step": each.step,
            **{**names, **each.metrics},
            "seconds": each.seconds,
            **{**tests, **each.sealed},
            "objective": objective,
            "score": trial.value,
            **prefixed(trial.config),
        }
        for (run, trial), each in records
    ]
    metrics = [*names, "seconds", *tests]
    columns = [*_key_columns(ledger, study_id), "epoch", "step", *metrics, "objective", "score"]
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)
    return _of_one_kind(frame).astype(dict.fromkeys([*metrics, "score"], "float64"))


def run_frame(
    ledger: LedgerReader,
    study_id: int,
    phase: Phase | None = None,
    *,
    sealed: bool = False,
    objective: str | None = None,
) -> pd.DataFrame:
    """Return the runs of a study as they ended, one row each.

    Columns: those of ``epoch_frame`` with the metrics of the last epoch that was recorded,
    ``seconds`` summed over epochs; then epochs_planned, started_at, finished_at (UTC), and what
    the run was computed with (device, versions, commit).

    Args:
        ledger: to read from.
        study_id: of the study.
        phase: which phase; all by default.
        sealed: whether to add the test metrics.
        objective: name of what trials are scored by, ``protocol.score`` of the study's file.

    Raises:
        SealedError: the test metrics are asked for and nobody has unsealed them.
    """
    epochs = epoch_frame(ledger, study_id, phase, sealed=sealed, objective=objective)
    keys = [name for name in ("arm", "phase", _REPLICATE, "trial", "seed") if name in epochs]
    by_run = epochs.groupby(keys, sort=False)
    ends = by_run.tail(1).assign(seconds=by_run["seconds"].sum().to_numpy())
    records = {run.id: run for run in ledger.study_runs(study_id, _stored(phase))}
    rows = []
    for run_id, (names, _) in _keys(ledger, study_id, phase):
        run = records[run_id]
        rows.append(
            {
                **{name: names[name] for name in keys},
                "epochs_planned": run.epochs_planned,
                "started_at": run.started_at,
                "finished_at": run.finished_at,
                **(run.provenance or {}),
            }
        )
    about = pd.DataFrame(rows, columns=None if rows else keys)
    return ends.merge(about, on=keys, validate="one_to_one")


def trial_frame(
    ledger: LedgerReader,
    study_id: int,
    phase: Phase | None = None,
    *,
    objective: str | None = None,
) -> pd.DataFrame:
    """Return the trials of a study, one row each, those that wait included.

    Columns: study, arm, optimizer, phase, replicate where every arm has several searches, trial,
    trial_state, objective, score, attempts, reason, started_at, finished_at (UTC), and one per
    hyperparameter, ``config.alpha``. The score is what
    winners are chosen by among complete trials, lower is better: the first of several objectives,
    each of which then has a column, ``score.seconds``, after the score. Under
    ``validation_error`` it is the metric that the task is judged by, or its best value minus it
    where greater is better.
    That of a trial that was pruned is of its last epoch, that of one that diverged is of chance.

    Args:
        ledger: to read from.
        study_id: of the study.
        phase: which phase; all by default.
        objective: name of what trials are scored by, ``protocol.score`` of the study's file.
    """
    study = _study(ledger, study_id)
    arms = {arm.id: arm for arm in ledger.arms(study_id)}
    several = [f"score.{name}" for name in study.spec["protocol"].get("objectives") or []]
    frame = pd.DataFrame(
        [
            {
                "study": study.name,
                "arm": arms[trial.arm_id].name,
                "optimizer": arms[trial.arm_id].optimizer,
                "phase": str(trial.phase),
                **({_REPLICATE: trial.replicate} if study.replicates > 1 else {}),
                "trial": trial.index,
                "trial_state": str(trial.state),
                "objective": objective,
                "score": trial.value,
                **dict(zip(several, trial.values or [np.nan] * len(several), strict=True)),
                "attempts": trial.attempts,
                "reason": trial.reason,
                "started_at": trial.started_at,
                "finished_at": trial.finished_at,
                **prefixed(trial.config),
            }
            for trial in _trials(ledger, study_id, phase)
        ]
    )
    return _of_one_kind(frame)


def example_frame(ledger: LedgerReader, study_id: int) -> pd.DataFrame:
    """Return which test images every run classifies correctly at its end, a row per run.

    Columns: the first ones of ``epoch_frame`` up to seed, and correct, an
    array bool [number of test images]. A run that diverged has no row.

    Args:
        ledger: to read from.
        study_id: of the study.

    Raises:
        SealedError: nobody has unsealed them.
    """
    examples = ledger.sealed_examples(study_id)
    rows = [
        {**run, "correct": np.array(examples[run_id])}
        for run_id, (run, _) in _keys(ledger, study_id, None)
        if run_id in examples
    ]
    return pd.DataFrame(rows, columns=[*_key_columns(ledger, study_id), "correct"])


def unmeasured_runs(ledger: LedgerReader, study_id: int, metric: str) -> list[str]:
    """Return arm and seed of the runs on fresh seeds that lack a finite sealed metric in an epoch.

    Diverged runs need none. Nothing sealed is returned.

    Args:
        ledger: to read from.
        study_id: of the study.
        metric: name in the record, such as ``test_accuracy``.
    """
    missing = ledger.runs_without(study_id, metric)
    keys = [key for phase in (Phase.CONFIRM, Phase.HALF) for key in _keys(ledger, study_id, phase)]
    found = (f"{names['arm']} {names['seed']}" for run_id, (names, _) in keys if run_id in missing)
    return list(dict.fromkeys(found))


def _columns(
    splits: tuple[str, ...],
    known: Iterable[str] | None,
    measured: Iterable[Mapping[str, float]],
) -> dict[str, float | None]:
    """Return a cell without a value for every metric; those declared come first, in their order."""
    columns: dict[str, float | None] = dict.fromkeys(metric_names(splits, known))
    for metrics in measured:
        columns.update(dict.fromkeys(metrics))
    return columns


def _of_one_kind(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which hyperparameters with values of several kinds are texts.

    Files of columns hold one kind in each, and an argument may be ``none`` here and 0.5 there.
    """
    texts = {}
    for name in config_columns(frame.columns):
        known = frame[name].dropna()
        kinds = {"number" if is_number(value) else type(value) for value in known}
        if len(kinds) > 1:
            texts[name] = known.map(value_text)
    return frame.assign(**texts)


def _study(ledger: LedgerReader, study_id: int) -> StudyRecord:
    (study,) = (study for study in ledger.studies() if study.id == study_id)
    return study


def _key_columns(ledger: LedgerReader, study_id: int) -> list[str]:
    columns = list(_KEYS)
    if _study(ledger, study_id).replicates > 1:
        columns.insert(columns.index("phase") + 1, _REPLICATE)
    return columns


def _stored(phase: Phase | None) -> Phase | None:
    """Return the phase to read runs of: those of half the budget may be confirm runs."""
    return None if phase is Phase.HALF else phase


def _trials(ledger: LedgerReader, study_id: int, phase: Phase | None) -> list[TrialRecord]:
    """Return trials in an order that does not depend on who worked on them, and when."""
    places = {arm.id: arm.position for arm in ledger.arms(study_id)}

    def place(trial: TrialRecord) -> tuple[int, int, int]:
        return places[trial.arm_id], trial.replicate, trial.index

    return [
        trial
        for each in (Phase if phase is None else (phase,))
        for trial in sorted(_of_phase(ledger, study_id, each), key=place)
    ]


def _of_phase(ledger: LedgerReader, study_id: int, phase: Phase) -> list[TrialRecord]:
    match phase:
        case Phase.CONFIRM:
            return ledger.confirms(study_id)
        case Phase.MATCH:
            return ledger.matches(study_id)
        case Phase.HALF:
            return ledger.halves(study_id)
        case Phase.TUNE | Phase.FINAL:
            return ledger.trials(study_id, phase=phase)


def _keys(ledger: LedgerReader, study_id: int, phase: Phase | None) -> Iterator[_Key]:
    """Yield run id, what names the run, and its trial."""
    study, columns = _study(ledger, study_id), _key_columns(ledger, study_id)
    arms = {arm.id: arm for arm in ledger.arms(study_id)}
    runs: dict[int, list[RunRecord]] = {}
    for run in ledger.study_runs(study_id, _stored(phase)):
        runs.setdefault(run.trial_id, []).append(run)
    for trial in _trials(ledger, study_id, phase):
        arm = arms[trial.arm_id]
        for run in runs.get(trial.id, ()):
            names: tuple[Any, ...] = (
                *(study.name, arm.name, arm.optimizer, str(trial.phase)),
                *((trial.replicate,) if study.replicates > 1 else ()),
                *(trial.index, str(trial.state), str(run.state), run.seed),
            )
            yield run.id, (dict(zip(columns, names, strict=True)), trial)
