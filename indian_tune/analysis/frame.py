"""The tidy data frame that an analysis reads, and what is refused of one.

One row per run and epoch. Columns:

==================== ============================================================================
arm                  name of the arm
seed                 integer; the same seed is the same initial weights, data order and split
epoch                integer, the same for all runs of a phase
train_loss           eval-mode training loss
test_accuracy        share of the test images classified correctly, in [0, 1]
validation_accuracy  optional, likewise
study                optional, one name
phase                optional: "confirm" (the default: frozen winners on fresh seeds) or "tune"
trial                optional, integer: tells the configurations of a tune phase apart
run_state            optional: "complete", or "diverged" for a run that ended without a finite loss
trial_state          optional: "complete" for a trial that was trained to its end
score                optional: of the trial, lower is better; what winners are chosen by. Without it
                     the validation error counts, or the training loss where there is none
objective            optional: what the score is of, such as "validation_loss"
config.alpha, …      optional: hyperparameters, read of the tune phase
==================== ============================================================================

A run that diverged is a result: it counts with the score of chance, and is the only one that may
end early or hold values that are not finite. Nothing is dropped silently.

Earlier versions wrote hyperparameters without a prefix. A frame without any ``config.`` column is
read in that way: every column of numbers that is neither above nor another that those versions
wrote is a hyperparameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.curves import Curves
from indian_tune.columns import config_column, config_columns
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUIRED = ("arm", "seed", "epoch", "train_loss", "test_accuracy")
ACCURACIES = ("test_accuracy", "validation_accuracy", "train_accuracy")
DIVERGED = "diverged"
# Columns that have never been hyperparameters, in frames whose hyperparameters have no prefix.
_NOT_HYPERPARAMETERS = frozenset(
    {
        *("study", "arm", "optimizer", "phase", "trial", "trial_state", "run_state", "seed"),
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


def confirm_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that tests are made on, checked, sorted by arm, seed and epoch.

    Raises:
        InputError: the frame is not what the module says; the message names column, arm and seed.
    """
    missing = [column for column in REQUIRED if column not in frame]
    if missing:
        raise InputError(
            f"the frame lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: it has "
            f"{', '.join(map(str, frame.columns)) or 'none'}"
        )
    if "study" in frame and frame["study"].nunique() > 1:
        names = ", ".join(map(repr, sorted(frame["study"].unique())))
        raise InputError(f"the frame holds several studies ({names}): analyse one at a time")
    rows = frame[frame["phase"] == "confirm"] if "phase" in frame else frame
    if rows.empty:
        raise InputError(
            "the frame has no rows of the confirm phase: winners are tested on fresh seeds, so "
            "let the study finish, or give runs with phase = 'confirm'"
        )
    _check_keys(rows)
    rows = rows.sort_values(["arm", "seed", "epoch"], ignore_index=True)
    _check_once(rows, ["arm", "seed", "epoch"])
    _check_ranges(rows)
    _check_runs(rows)
    return rows


def read_curves(
    rows: pd.DataFrame, chance: float | None
) -> tuple[tuple[int, ...], dict[str, Curves]]:
    """Return the seeds and the curves of every arm.

    Args:
        rows: from :func:`confirm_rows`.
        chance: accuracy of a network that knows nothing; needed when a run diverged.

    Raises:
        InputError: the arms have different seeds, or a run diverged and ``chance`` is ``None``.
    """
    state = rows["run_state"] if "run_state" in rows else pd.Series("complete", index=rows.index)
    gone = rows.loc[state == DIVERGED, ["arm", "seed"]].drop_duplicates()
    if len(gone) and chance is None:
        raise InputError(
            f"{len(gone)} runs diverged ({_some(map(_run_name, gone.itertuples()))}) and count "
            "with the score of chance: give the number of classes, as `classes` under [scope] in "
            "the file of claims or as Scope(classes=…)"
        )
    epochs = np.sort(rows["epoch"].unique())
    of_arm = {str(arm): sorted(part.unique()) for arm, part in rows.groupby("arm")["seed"]}
    first, seeds = next(iter(of_arm.items()))
    for arm, own in of_arm.items():
        if own != seeds:
            lone = sorted(set(own) ^ set(seeds))
            raise InputError(
                f"arms {first!r} and {arm!r} cannot be paired: only one of them has seeds "
                f"{_some(lone)}; run every arm on the same seeds"
            )
    index = pd.MultiIndex.from_product([sorted(of_arm), seeds, epochs])
    whole = rows.set_index(["arm", "seed", "epoch"]).reindex(index)
    shape = (len(of_arm), len(seeds), len(epochs))
    metrics = [name for name in ("train_loss", *ACCURACIES[:2]) if name in rows]
    cubes = {name: whole[name].to_numpy(dtype=np.float64).reshape(shape) for name in metrics}
    if "validation_accuracy" in cubes and np.isnan(cubes["validation_accuracy"]).all():
        del cubes["validation_accuracy"]
    diverged = pd.MultiIndex.from_frame(gone)
    bad = np.array([[(arm, seed) in diverged for seed in seeds] for arm in sorted(of_arm)])
    return tuple(int(seed) for seed in seeds), {
        arm: Curves(
            train_loss=cubes["train_loss"][k],
            test_accuracy=cubes["test_accuracy"][k],
            validation_accuracy=(
                cubes["validation_accuracy"][k] if "validation_accuracy" in cubes else None
            ),
            diverged=bad[k],
            chance=np.nan if chance is None else chance,
        )
        for k, arm in enumerate(sorted(of_arm))
    }


def tune_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the search, which may be none, hyperparameters in ``config.`` columns.

    Raises:
        InputError: a column is missing, or an (arm, trial, seed, epoch) stands twice.
    """
    if "phase" not in frame or "trial" not in frame:
        return frame.iloc[:0]
    rows = with_config_columns(frame[frame["phase"] == "tune"])
    _check_once(rows, ["arm", "trial", "seed", "epoch"])
    return rows


def _check_keys(rows: pd.DataFrame) -> None:
    if rows["arm"].isna().any():
        raise InputError("column arm has empty places: every row needs the name of its arm")
    for column in ("seed", "epoch"):
        values = rows[column]
        if not pd.api.types.is_numeric_dtype(values) or not (values == values.round()).all():
            raise InputError(f"column {column} must hold whole numbers, got {_odd(values)}")
    if "run_state" in rows:
        odd = sorted(set(rows["run_state"].dropna()) - {"complete", DIVERGED})
        if odd:
            part = rows[rows["run_state"].isin(odd)].drop_duplicates(["arm", "seed"])
            raise InputError(
                f"runs are {' and '.join(odd)} ({_some(map(_run_name, part.itertuples()))}): an "
                "analysis needs all of them finished, so run the study to its end"
            )


def _check_once(rows: pd.DataFrame, keys: list[str]) -> None:
    twice = rows[rows.duplicated(keys)]
    if len(twice):
        place = ", ".join(f"{key} {twice.iloc[0][key]}" for key in keys)
        raise InputError(
            f"{place} stands more than once ({len(twice)} such rows): give one row per "
            f"({', '.join(keys)})"
        )


def _check_ranges(rows: pd.DataFrame) -> None:
    for column in ACCURACIES:
        if column not in rows:
            continue
        values = rows[column]
        outside = (values < 0) | (values > 1)
        if outside.any():
            first = rows[outside].iloc[0]
            raise InputError(
                f"{column} = {float(first[column])!r} ({_run_name(first)}) is no share in [0, 1]: "
                "divide percentages by 100"
            )


def _check_runs(rows: pd.DataFrame) -> None:
    """Demand that every run that did not diverge is whole and finite."""
    sound = rows[rows["run_state"] != DIVERGED] if "run_state" in rows else rows
    for column in ("train_loss", "test_accuracy"):
        broken = sound[~np.isfinite(sound[column].to_numpy(dtype=np.float64))]
        if len(broken):
            raise InputError(
                f"{column} of {_run_name(broken.iloc[0])} is not finite at epoch "
                f"{broken.iloc[0]['epoch']} ({len(broken)} such values): mark a run that diverged "
                "with run_state = 'diverged', it counts with the score of chance"
            )
    epochs = rows["epoch"].nunique()
    lengths = sound.groupby(["arm", "seed"])["epoch"].size()
    short = lengths[lengths != epochs]
    if len(short):
        arm, seed = short.index[0]
        raise InputError(
            f"arm {arm!r} seed {seed} has {short.iloc[0]} epochs, the frame has {epochs}: every "
            "run needs the same epochs, unless run_state is 'diverged'"
        )


def _run_name(row: object) -> str:
    return f"{getattr(row, 'arm')} {getattr(row, 'seed')}"  # noqa: B009


def _odd(values: pd.Series) -> object:
    if not pd.api.types.is_numeric_dtype(values):
        return repr(values.iloc[0])
    return repr(float(values[values != values.round()].iloc[0]))


def _some(values: Iterable[object], most: int = 5) -> str:
    listed = [str(value) for value in values]
    return ", ".join(listed[:most]) + (
        f" and {len(listed) - most} more" if len(listed) > most else ""
    )
