"""The tidy data frame that an analysis reads, and its validation.

One row per run and epoch. Columns:

==================== ============================================================================
arm                  name of the arm
seed                 integer; the same seed is the same initial weights, data order and split
epoch                integer, the same for all runs of a phase
train_loss           eval-mode training loss
train_accuracy       optional: share of the training examples classified correctly in eval mode
replicate            optional, integer: which search of its arm the run belongs to; 0 by default
test_accuracy        share of the test images classified correctly, in [0, 1]
validation_accuracy  optional, likewise
study                optional, one name
phase                optional: "confirm" (the default: frozen winners on fresh seeds), "half" (the
                     winners of the first half of the budget on the same seeds), "tune" or "match"
trial                optional, integer: tells the configurations of a tune phase apart
run_state            optional: "complete", or "diverged" for a run that ended without a finite loss
started_at           optional: when the run began (ISO 8601); claims must be registered before that
trial_state          optional: "complete" for a trial that was trained to its end
score                optional: of the trial, lower is better; what winners are chosen by. Without it
                     the validation error counts, or the training loss where there is none
objective            optional: what the score is of, such as "validation_loss"
config.alpha, …      optional: hyperparameters, read of the phases tune and confirm;
                     ``config.level``, of a response-matched control, of match and confirm
==================== ============================================================================

Studies of another task have its metrics in place of the accuracies, such as ``test_mse``; which of
them runs are judged by is said beside the frame. :func:`scored` turns it into *scores*, which stand
in the columns of the accuracies from then on: 1 - error, so that differences are in the unit of the
metric and above 0 where the first is better. In the analysis "accuracy" means that score.

A run that diverged is a result, counted apart: it is in no mean. It is the only one that may end
early or hold values that are not finite. Nothing is dropped silently.

Earlier versions wrote hyperparameters without a prefix. A frame without any ``config.`` column is
read in that way: every column of numbers that is neither above nor another that those versions
wrote is a hyperparameter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from indian_tune.analysis.ends import Ends, stuck
from indian_tune.columns import config_column, config_columns
from indian_tune.errors import InputError
from indian_tune.outcome import ACCURACY
from indian_tune.text import some

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indian_tune.outcome import Outcome

REQUIRED = ("arm", "seed", "epoch", "train_loss", "test_accuracy")
LOSSES = ("train_loss", "validation_loss", "test_loss")
ACCURACIES = ("test_accuracy", "validation_accuracy", "train_accuracy")
DIVERGED = "diverged"
KEYS = ["arm", "replicate", "seed"]
JUDGED_BY = "outcome"
# Runs that a message lists; the rest is counted.
SHOWN = 5
# What tells rows apart, and so is empty in none.
_KEYS = {
    "arm": "the name of its arm",
    "replicate": "the number of its search",
    "seed": "its seed",
    "epoch": "its epoch",
}
NUMBERED = ("replicate", "trial", "seed", "epoch", "step")
EXPORT = "; a study's test results are exported with `indian-tune export STUDY --unseal`"
# Columns that have never been hyperparameters, in frames whose hyperparameters have no prefix.
_NOT_HYPERPARAMETERS = frozenset(
    {
        *("study", "arm", "replicate", "optimizer", "phase", "trial"),
        *("trial_state", "run_state", "seed"),
        *("epoch", "step", "seconds", "train_loss", "validation_loss", "test_loss", *ACCURACIES),
        *("objective", "score", "value", "attempts", "reason", "started_at", "finished_at"),
        *("epochs_planned", "threads", "tf32"),
    }
)


def with_config_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its hyperparameters in ``config.`` columns, as the module says."""
    if config_columns(frame.columns):
        return frame
    return frame.rename(
        columns={
            name: config_column(name)
            for name in frame.columns
            if name not in _NOT_HYPERPARAMETERS and pd.api.types.is_numeric_dtype(frame[name])
        }
    )


def scored(frame: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """Return a frame with the scores of an outcome in the columns of accuracies.

    The frame knows its outcome from then on, see :func:`judged_by`. That of classification is
    returned as it is.

    Args:
        frame: one row per run and epoch.
        outcome: what runs are judged by.

    Raises:
        InputError: the column of the outcome holds no numbers.
    """
    usual = outcome.share and outcome.name == ACCURACY.name
    if usual or JUDGED_BY in frame.attrs:
        return frame
    made = frame.drop(columns=[column for column in ACCURACIES if column in frame])
    for column in ACCURACIES:
        own = outcome.column(column)
        if own in frame:
            if not pd.api.types.is_numeric_dtype(frame[own]):
                raise InputError(f"column {own} must contain numbers, got {_odd(frame[own])}")
            made[column] = outcome.score(frame[own])
    made.attrs[JUDGED_BY] = outcome
    return made


def judged_by(frame: pd.DataFrame) -> Outcome:
    """Return what the runs of a frame are judged by, of which it has the scores."""
    outcome: Outcome = frame.attrs.get(JUDGED_BY, ACCURACY)
    return outcome


def check_columns(frame: pd.DataFrame) -> None:
    """Check what every reader of a frame relies on, whichever of its rows are read.

    Raises:
        InputError: a column that tells runs apart is missing, or one holds what is not its kind.
    """
    missing = [column for column in ("arm", "seed", "epoch") if column not in frame]
    if missing:
        raise InputError(_lacks(frame, missing))
    if frame.empty:
        raise InputError("the frame has no rows: give one with a row per run and epoch")
    for column, needed in _KEYS.items():
        if column in frame and frame[column].isna().any():
            raise InputError(f"column {column} has empty values: give every row {needed}")
    for column in (*NUMBERED, *LOSSES, *ACCURACIES, "seconds", "score"):
        if column not in frame:
            continue
        values = frame[column]
        kind = "whole numbers" if column in NUMBERED else "numbers"
        if not pd.api.types.is_numeric_dtype(values):
            raise InputError(f"column {column} must contain {kind}, got {_odd(values)}")
        if column in NUMBERED:
            numbers = values.dropna().to_numpy(dtype=np.float64)
            if not (np.isfinite(numbers) & (numbers == np.round(numbers))).all():
                raise InputError(
                    f"column {column} must contain {kind}, got {_odd(values.dropna())}"
                )


def _lacks(frame: pd.DataFrame, missing: list[str]) -> str:
    return (
        f"the frame lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; its columns "
        f"are {', '.join(map(str, frame.columns)) or 'none'}"
    )


def confirm_rows(frame: pd.DataFrame, phase: str = "confirm") -> pd.DataFrame:
    """Return the rows that tests are made on, checked, sorted by arm, search, seed and epoch.

    Args:
        frame: as the module says.
        phase: "confirm", or "half" for the winners of half the budget; of these there may be none.

    Raises:
        InputError: the frame is not what the module says; the message names column, arm and seed.
    """
    outcome = judged_by(frame)
    missing = [outcome.column(column) for column in REQUIRED if column not in frame]
    if missing:
        unsealed = outcome.column("test_accuracy") in missing
        raise InputError(_lacks(frame, missing) + EXPORT * unsealed)
    check_columns(frame)
    if "study" in frame and frame["study"].nunique() > 1:
        names = ", ".join(map(repr, sorted(frame["study"].unique())))
        raise InputError(f"the frame contains several studies ({names}): analyse one at a time")
    if "phase" in frame:
        rows = frame[frame["phase"] == phase]
    else:
        rows = frame if phase == "confirm" else frame.iloc[:0]
    if rows.empty and phase == "confirm":
        raise InputError(
            "the frame has no rows of the confirm phase, in which winners are tested on fresh "
            "seeds: finish the study, or give runs with phase = 'confirm'"
        )
    if "replicate" not in rows:
        rows = rows.assign(replicate=0)
    _check_states(rows)
    rows = rows.assign(arm=rows["arm"].map(str)).sort_values([*KEYS, "epoch"], ignore_index=True)
    _check_once(rows, [*KEYS, "epoch"])
    if outcome.share:
        _check_ranges(rows)
    _check_runs(rows, outcome)
    return rows


def read_ends(
    rows: pd.DataFrame,
    half: pd.DataFrame,
    examples: pd.DataFrame | None,
    least: float | None,
    control: str | None = None,
) -> tuple[dict[int, tuple[int, ...]], dict[str, Ends]]:
    """Return the seeds of every search and how the runs of every arm ended.

    Args:
        rows: from :func:`confirm_rows`.
        half: the same of the phase "half".
        examples: which test examples every run gets right: columns arm, seed, correct and, where
            there are several searches, replicate. Runs that diverged have no row.
        least: training accuracy of a run that has trained; ``None`` where it is not known.
        control: the response-matched arm, which has no runs in a search in which no level trained.

    Raises:
        InputError: the arms have different searches or seeds.
    """
    of_arm = {
        str(arm): tuple(
            part[["replicate", "seed"]].drop_duplicates().itertuples(index=False, name=None)
        )
        for arm, part in rows.groupby("arm")
    }
    first = max(of_arm, key=lambda arm: len(of_arm[arm]))
    pairs = of_arm[first]
    for arm, own in of_arm.items():
        searched = {replicate for replicate, _ in (own if arm == control else pairs)}
        wanted = {pair for pair in pairs if pair[0] in searched}
        if set(own) != wanted:
            lone = sorted(set(own) ^ wanted)
            raise InputError(
                f"arms {first!r} and {arm!r} cannot be paired: only one of them has seeds "
                f"{some((seed for _, seed in lone), SHOWN)}. Run every arm on the same seeds"
            )
    seeds: dict[int, tuple[int, ...]] = {}
    for replicate, seed in sorted(pairs):
        seeds[int(replicate)] = (*seeds.get(int(replicate), ()), int(seed))
    correct, correct_half = _correct(examples, "confirm"), _correct(examples, "half")
    full, halved = _last(rows), _last(half)
    made = {}
    for arm in sorted(of_arm):
        ends = _ends(full[full["arm"] == arm], seeds, least, correct.get(arm))
        part = halved[halved["arm"] == arm]
        if len(part):
            ends = replace(ends, half=_ends(part, seeds, least, correct_half.get(arm)))
        made[arm] = ends
    return seeds, made


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of every run."""
    return rows.drop_duplicates(KEYS, keep="last")


def _ends(
    last: pd.DataFrame,
    seeds: dict[int, tuple[int, ...]],
    least: float | None,
    correct: dict[tuple[int, int], NDArray[np.float32]] | None,
) -> Ends:
    place = {(r, s): (i, k) for i, (r, own) in enumerate(seeds.items()) for k, s in enumerate(own)}
    shape = (len(seeds), max(map(len, seeds.values())))
    at = [place.get((int(r), int(s))) for r, s in zip(last["replicate"], last["seed"], strict=True)]
    last = last[[where is not None for where in at]]
    index = tuple(np.array([where for where in at if where is not None]).reshape(-1, 2).T)

    def values(column: str) -> NDArray[np.float64]:
        table = np.full(shape, np.nan)
        if column in last:
            table[index] = last[column].to_numpy(dtype=np.float64)
        return table

    train = values("train_accuracy")
    failed = np.zeros(shape, dtype=bool)
    if "run_state" in last:
        failed[index] = (last["run_state"] == DIVERGED).to_numpy()
    failed |= stuck(train, least)
    examples = None
    if correct:
        size = len(next(iter(correct.values())))
        examples = np.full((*shape, size), np.nan, dtype=np.float32)
        for key, row in correct.items():
            if key in place:
                examples[place[key]] = row
    return Ends(values("test_accuracy"), train, values("validation_accuracy"), failed, examples)


def _correct(
    frame: pd.DataFrame | None, phase: str
) -> dict[str, dict[tuple[int, int], NDArray[np.float32]]]:
    """Return the correctness of test examples by arm and run of a phase."""
    if frame is None or frame.empty or ("phase" not in frame and phase != "confirm"):
        return {}
    rows = frame[frame["phase"] == phase] if "phase" in frame else frame
    lengths = {len(correct) for correct in rows["correct"]}
    if len(lengths) > 1:
        raise InputError(f"runs have {sorted(lengths)} test examples: use the same for all")
    replicates = rows["replicate"] if "replicate" in rows else [0] * len(rows)
    found: dict[str, dict[tuple[int, int], NDArray[np.float32]]] = {}
    for arm, replicate, seed, correct in zip(
        rows["arm"], replicates, rows["seed"], rows["correct"], strict=True
    ):
        run = (int(replicate), int(seed))
        found.setdefault(str(arm), {})[run] = np.asarray(correct, dtype=np.float32)
    return found


def trial_rows(frame: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Return the rows of a phase in which trials are compared, "tune" or "match".

    There may be none. Hyperparameters are in ``config.`` columns.

    Raises:
        InputError: an (arm, replicate, trial, seed, epoch) is given twice.
    """
    if "phase" not in frame or "trial" not in frame:
        return frame.iloc[:0]
    rows = with_config_columns(frame[frame["phase"] == phase])
    if "replicate" not in rows:
        rows = rows.assign(replicate=0)
    _check_once(rows, ["arm", "replicate", "trial", "seed", "epoch"])
    return rows


def _check_states(rows: pd.DataFrame) -> None:
    if "run_state" in rows:
        odd = sorted(set(rows["run_state"].dropna()) - {"complete", DIVERGED})
        if odd:
            part = rows[rows["run_state"].isin(odd)].drop_duplicates(["arm", "seed"])
            named = some(map(_run_name, part.itertuples()), SHOWN)
            raise InputError(
                f"runs are {' and '.join(odd)} ({named}): an "
                "analysis needs finished runs, so finish the study"
            )


def _check_once(rows: pd.DataFrame, keys: list[str]) -> None:
    twice = rows[rows.duplicated(keys)]
    if len(twice):
        place = ", ".join(f"{key} {twice.iloc[0][key]}" for key in keys)
        raise InputError(
            f"{place} occurs more than once ({len(twice)} such rows): give one row per "
            f"({', '.join(keys)})"
        )


def _check_ranges(rows: pd.DataFrame) -> None:
    for column in LOSSES:
        if column in rows and (rows[column] < 0).any():
            first = rows[rows[column] < 0].iloc[0]
            raise InputError(
                f"{column} = {float(first[column])!r} ({_run_name(first)}) is below 0: a loss is "
                "a mean that cannot be negative"
            )
    for column in ACCURACIES:
        if column not in rows:
            continue
        values = rows[column]
        outside = (values < 0) | (values > 1)
        if outside.any():
            first = rows[outside].iloc[0]
            raise InputError(
                f"{column} = {float(first[column])!r} ({_run_name(first)}) must be in [0, 1]: "
                "divide percentages by 100"
            )


def _check_runs(rows: pd.DataFrame, outcome: Outcome) -> None:
    """Demand that every run that did not diverge is whole and finite."""
    if "run_state" in rows:
        states = rows.groupby(KEYS)["run_state"].nunique(dropna=False)
        if (states > 1).any():
            arm, _, seed = states.index[(states > 1).to_numpy()][0]
            raise InputError(
                f"run_state of {arm} {seed} differs between its epochs: write 'diverged' on every "
                "row of a run that diverged, or on none"
            )
    sound = rows[rows["run_state"] != DIVERGED] if "run_state" in rows else rows
    for column in ("train_loss", "test_accuracy"):
        broken = sound[~np.isfinite(sound[column].to_numpy(dtype=np.float64))]
        if len(broken):
            raise InputError(
                f"{outcome.column(column)} of {_run_name(broken.iloc[0])} is not finite at epoch "
                f"{broken.iloc[0]['epoch']} ({len(broken)} such values): mark a run that diverged "
                "with run_state = 'diverged'" + EXPORT * bool(sound["test_accuracy"].isna().all())
            )
    epochs = rows["epoch"].nunique()
    lengths = sound.groupby(KEYS)["epoch"].agg(["size", "min", "max"])
    short = lengths[lengths["size"] != epochs]
    if len(short):
        arm, _, seed = short.index[0]
        raise InputError(
            f"arm {arm!r} seed {seed} has {short.iloc[0]['size']} epochs, but the frame has "
            f"{epochs}: every run needs the same epochs, unless run_state is 'diverged'"
        )
    gaps = lengths[lengths["max"] - lengths["min"] + 1 != lengths["size"]]
    if len(gaps):
        arm, _, seed = gaps.index[0]
        raise InputError(
            f"arm {arm!r} seed {seed} has gaps in its epochs ({int(gaps.iloc[0]['size'])} of "
            f"{int(gaps.iloc[0]['min'])} to {int(gaps.iloc[0]['max'])}): give every epoch, or "
            "number the epochs without gaps"
        )


def _run_name(row: object) -> str:
    return f"{getattr(row, 'arm')} {getattr(row, 'seed')}"  # noqa: B009


def _odd(values: pd.Series) -> object:
    if not pd.api.types.is_numeric_dtype(values):
        odd = values[~values.map(_is_number) & values.notna()]
        return repr(str((odd if len(odd) else values).iloc[0])[:80])
    numbers = values.to_numpy(dtype=np.float64)
    return repr(float(numbers[~np.isfinite(numbers) | (numbers != np.round(numbers))][0]))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
