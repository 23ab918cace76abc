"""Runs from anywhere as one table: which arm, which seed, what value, failed or not.

A frame has a row per run, or a row per run and step. These columns have a meaning, under these
names or under those that the caller maps to them:

========== ========================================================================================
arm        name of what is compared; every other column may be missing
seed       the same seed is the same initial weights, data order and split; without it every row, or
           every trial, is a repetition
step       also ``epoch``: the last one of a run counts
task       what was learned, where several tasks are averaged
replicate  which search of its arm the run belongs to
trial      which trial of its arm the run belongs to
state      also ``run_state`` or ``status``: a run that ``diverged``, ``failed`` or ``crashed`` has
           failed
phase      "confirm" for the runs that are compared, "tune" for the search before them
========== ========================================================================================

Columns ``config.…`` are hyperparameters. A run whose value is not finite, or beyond 1e100, has
failed as well. A value that is missing is refused: what it means must be said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from indian_tune.columns import CONFIG
from indian_tune.comparison.metric_names import direction_of, guessed_metric, listed
from indian_tune.comparison.numbers import numbers
from indian_tune.errors import InputError, alternatives
from indian_tune.text import counted, with_article

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from indian_tune.comparison.metric_names import Better

Missing = Literal["refuse", "failed"]

ROLES = ("arm", "seed", "step", "task", "replicate", "trial", "state", "phase")
# Further names of a role, the first that is there counts.
_ALIASES = {"step": ("epoch", "step"), "state": ("run_state", "state", "status")}
KEYS = ["arm", "task", "replicate", "seed"]
_FAILED = frozenset({"diverged", "failed", "fail", "crashed", "error", "killed", "nan", "oom"})
_PRUNED = "pruned"
_OPEN = frozenset({"running", "waiting", "pending", "queued", _PRUNED, "paused", "preempted"})
# Beyond it, squares have no place in a float: a loss that large has diverged.
_MOST = 1e100


@dataclass(frozen=True)
class Runs:
    """Runs of several arms, a value each.

    Attributes:
        table: columns arm, task, replicate, seed, value (NaN if failed), failed, steps.
        metric: what the value is of.
        better: whether a lower or a higher value is better.
        seeded: whether seeds are known; else they are numbers of repetitions.
        curves: columns of ``KEYS``, step and value, a row per run and step; ``None`` without steps.
        trials: of the search, columns arm, replicate, trial and value; ``None`` if unknown.
        trials_of: what the value of a trial is of, and whether lower or higher is better.
        configurations: arm → number of different configurations among its runs; empty if unknown.
        budgets: arm → trials of the search of every replicate, where known.
        notes: what to know of the source, a sentence each.
        began: when the first run began; ``None`` if unknown.
        undated: a start of a run that is no time; ``None`` if all are.
        timed: whether it is known of every run when it began.
        selected: why a value was chosen on what it reports; empty where nothing shows that.
        examples: how many examples every value is a share of, 0 where they are not the same for
            all values; ``None`` if only the values tell.
    """

    table: pd.DataFrame
    metric: str
    better: Better
    seeded: bool
    curves: pd.DataFrame | None = None
    trials: pd.DataFrame | None = None
    trials_of: tuple[str, Better] | None = None
    configurations: Mapping[str, int] = field(default_factory=dict)
    budgets: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    began: pd.Timestamp | None = None
    undated: str | None = None
    timed: bool = False
    selected: tuple[str, ...] = ()
    examples: int | None = None

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in the order of the source."""
        return list(dict.fromkeys(self.table["arm"]))

    @property
    def sign(self) -> float:
        """What a difference is multiplied with to be above 0 where the first arm is better."""
        return 1.0 if self.better == "higher" else -1.0

    def require(self, key: str, arm: str) -> None:
        """Refuse an arm that has no runs.

        Raises:
            InputError: there is none of that name.
        """
        if arm not in self.arms:
            raise InputError(f"{key} = {arm!r} has no runs.{alternatives(arm, self.arms)}")


def runs_of(
    frame: pd.DataFrame,
    *,
    metric: str | None = None,
    better: Better | None = None,
    names: Mapping[str, str] | None = None,
    where: Mapping[str, str] | None = None,
    missing: Missing = "refuse",
    only: Sequence[str] = (),
    trials: pd.DataFrame | None = None,
    trials_of: tuple[str, Better] | None = None,
    notes: Sequence[str] = (),
) -> Runs:
    """Return the runs of a frame, checked.

    Args:
        frame: as the module says.
        metric: column of the values; may be left out where only one column can be it.
        better: "lower" or "higher"; guessed from the metric's name if left out.
        names: role → column, such as ``{"seed": "run_seed"}``.
        where: column → value: only such rows are read.
        missing: what a missing value means: "refuse" it, or the run has "failed".
        only: arms that are read, if all of them are there; all by default.
        trials: of the search, columns arm, replicate, trial, value; by default from the phase
            "tune" of the frame.
        trials_of: what the value of a trial is of, and its direction; by default the metric.
        notes: of the source.

    Raises:
        InputError: the frame is not what the module says; the message names column, arm and seed.
    """
    if not isinstance(frame, pd.DataFrame):
        raise InputError(f"frame is {with_article(type(frame).__name__)}: give a pandas DataFrame")
    if missing not in ("refuse", "failed"):
        raise InputError(f"missing = {missing!r} must be 'refuse' or 'failed'")
    frame = _renamed(frame, dict(names or {}))
    if {"number", "datetime_start"} <= set(frame.columns):
        # Optuna's trials_dataframe.
        frame = frame.rename(columns=lambda name: re.sub("^params_", CONFIG, str(name)))
    for column, value in (where or {}).items():
        frame = _filtered(frame, column, value)
    if "arm" not in frame:
        raise InputError(
            "there is no column arm: choose one with --map arm=COLUMN; the columns are "
            f"{listed(frame.columns)}"
        )
    if frame["arm"].isna().any() or (frame["arm"].map(str) == "").any():
        raise InputError("column arm has empty values: give every row the name of its arm")
    frame = frame.assign(arm=frame["arm"].map(str))
    if only and set(only) <= set(frame["arm"]):
        # The others need not be complete.
        frame = frame[frame["arm"].isin(only)]
    frame = frame.reset_index(drop=True)
    metric = _metric(frame, metric)
    better = direction_of(metric, better)
    rows, tuning = _phases(frame)
    if trials is None and tuning is not None:
        trials = _tuning_trials(tuning, metric, missing)
    rows, seeded = _with_keys(rows)
    values, absent = numbers(rows, metric)
    failed = _failed(rows, missing, seeded=seeded)
    if missing == "failed":
        failed = failed | absent
    rows = rows.assign(value=values, failed=failed | ~((np.abs(values) <= _MOST) | absent))
    stepped = "step" in rows
    if stepped:
        steps, gone = numbers(rows, "step")
        if gone.any() or not np.isfinite(steps).all():
            raise InputError("column step has empty or infinite values: correct these rows")
        rows = rows.assign(step=steps)
    _check_once(rows, [*KEYS, *(["step"] if stepped else [])], seeded=seeded)
    rows = rows.assign(missing=absent)
    ends = rows.sort_values([*KEYS, *(["step"] if stepped else [])], kind="stable")
    last = ends.groupby(KEYS, sort=False).tail(1).reset_index(drop=True)
    last["failed"] = (
        ends.groupby(KEYS, sort=False)["failed"].max().to_numpy() if stepped else (last["failed"])
    )
    _refuse_missing(last, metric)
    last.loc[last["failed"], "value"] = np.nan
    last["steps"] = last["step"] if stepped else np.nan
    order = list(dict.fromkeys(rows["arm"]))
    last["place"] = last["arm"].map(order.index)
    table = last.sort_values(["place", *KEYS], kind="stable")[[*KEYS, "value", "failed", "steps"]]
    return Runs(
        table=table.reset_index(drop=True),
        metric=metric,
        better=better,
        seeded=seeded,
        curves=ends[[*KEYS, "step", "value"]].reset_index(drop=True)
        if stepped and (ends.groupby(KEYS).size() > 1).any()
        else None,
        trials=trials,
        trials_of=trials_of or (metric, better),
        configurations=_configurations(rows),
        budgets=_budgets(trials),
        notes=tuple(notes),
        began=_began(frame),
        undated=_undated(frame),
        timed="started_at" in rows and not _empty(rows["started_at"]).any(),
        selected=_selected(metric, rows),
    )


def _renamed(frame: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    for role, column in names.items():
        if role not in ROLES:
            raise InputError(f"{role}={column}: unknown role.{alternatives(role, ROLES)}")
        if column not in frame:
            raise InputError(
                f"{role}={column}: there is no column "
                f"{column!r}.{alternatives(column, map(str, frame.columns))}"
            )
    for role, others in _ALIASES.items():
        found = [name for name in others if name in frame and name not in names.values()]
        if role not in names and found:
            names[role] = found[0]
    if not len(frame):
        raise InputError("the source contains no runs: give one with a row per run")
    given = {role: frame[column] for role, column in names.items()}
    # What bears the name of a role that another column was mapped to is not that role; and what
    # names a seed or an arm is no hyperparameter.
    gone = {role for role in given if role in frame}
    gone |= {column for column in names.values() if column.startswith(CONFIG)}
    return frame.drop(columns=list(gone)).assign(**given)


def _filtered(frame: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    if column not in frame:
        raise InputError(
            f"where {column}={value}: there is no column "
            f"{column!r}.{alternatives(column, map(str, frame.columns))}"
        )
    kept = frame[column].map(str) == value
    if not kept.any():
        with_number = pd.to_numeric(frame[column], errors="coerce")
        try:
            kept = with_number == float(value)
        except ValueError:
            kept = kept & False
    if not kept.any():
        there = list(dict.fromkeys(frame[column].map(str)))
        raise InputError(f"where {column}={value} selects no row: {column} is {listed(there)}")
    return frame[kept]


def _metric(frame: pd.DataFrame, metric: str | None) -> str:
    taken = {*ROLES, *(name for names in _ALIASES.values() for name in names)}
    columns = [str(name) for name in frame.columns]
    if metric is not None:
        if metric not in columns:
            raise InputError(
                f"metric = {metric!r} is not a column.{alternatives(metric, set(columns) - taken)}"
            )
        if metric in ROLES:
            raise InputError(f"metric = {metric!r} is the {metric} of a run: choose another column")
        return metric
    free = [n for n in columns if n not in taken and not n.startswith((CONFIG, "params"))]
    # A column without a number, such as one that is empty, is no metric.
    filled = [n for n in free if pd.to_numeric(frame[n], errors="coerce").notna().any()]
    return guessed_metric(filled or free)


def _phases(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    if "phase" not in frame:
        return frame, None
    phases = list(dict.fromkeys(frame["phase"].map(str)))
    if "confirm" in phases:
        tune = frame[frame["phase"] == "tune"]
        return frame[frame["phase"] == "confirm"], None if tune.empty else tune
    if len(phases) > 1:
        raise InputError(
            f"column phase has several values ({listed(phases)}), but not confirm: choose one, "
            f"such as --where phase={phases[0]}"
        )
    return frame, None


def _with_keys(rows: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return the rows with all of ``KEYS``, and whether their seeds are known."""
    for name, default in (("task", ""), ("replicate", 0)):
        if name not in rows:
            rows = rows.assign(**{name: default})
        elif rows[name].isna().any():
            raise InputError(f"column {name} has empty values: fill them, or remove the column")
    rows = rows.assign(task=rows["task"].map(str), replicate=_ordered(rows["replicate"]))
    if "seed" in rows:
        if rows["seed"].isna().any() or (rows["seed"].map(str) == "").any():
            raise InputError("column seed has empty values: fill them, or remove the column")
        return rows.assign(seed=_ordered(rows["seed"])), True
    if "trial" in rows:
        return rows.assign(seed=_ordered(rows["trial"])), False
    if "step" in rows and rows.duplicated(["arm", "task", "replicate"]).any():
        raise InputError(
            "there is a row per step, but no column identifies the runs: choose one with --map "
            "seed=COLUMN"
        )
    return rows.assign(seed=rows.groupby(["arm", "task", "replicate"]).cumcount()), False


def _ordered(values: pd.Series) -> pd.Series:
    """Return whole numbers as such, so that they are sorted as numbers; texts otherwise."""
    found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    if (
        np.isfinite(found).all()
        and (found == np.round(found)).all()
        and np.abs(found).max() < 2**53
    ):
        return pd.Series(found.astype(np.int64), index=values.index)
    return values.map(str)


def _failed(rows: pd.DataFrame, missing: Missing, *, seeded: bool) -> NDArray[np.bool_]:
    if "state" not in rows:
        return np.zeros(len(rows), dtype=bool)
    states = rows["state"].map(lambda state: str(state).lower().rpartition(".")[2])
    pruned = {_PRUNED} if missing == "failed" else set()
    unfinished = sorted((set(states) & _OPEN) - pruned)
    if unfinished:
        first = rows[(states == unfinished[0]).to_numpy()].iloc[0]
        hint = "wait until all runs are finished, or remove it from the source"
        if unfinished[0] == _PRUNED:
            hint = (
                "give --missing failed to count pruned runs as failed; without them the arm would "
                "look better than it is"
            )
        which = "seed" if seeded or "trial" not in rows else "trial"
        raise InputError(
            f"a run of arm {first['arm']!r} ({which} {first[which]}) is {unfinished[0]}: {hint}"
        )
    return states.isin([*_FAILED, *pruned]).to_numpy(dtype=bool)


def _check_once(rows: pd.DataFrame, keys: list[str], *, seeded: bool) -> None:
    twice = rows[rows.duplicated(keys)]
    if twice.empty:
        return
    first = twice.iloc[0]
    times = int((rows[keys] == first[keys]).all(axis=1).sum())
    named = [key for key in keys[1:] if key == "seed" or rows[key].nunique() > 1]
    place = ", ".join(f"{key} {first[key]}" for key in named)
    own = rows[rows["arm"] == first["arm"]]
    hint = "give one run per arm and seed"
    if any(own[name].nunique() > 1 for name in rows if str(name).startswith(CONFIG)):
        hint += "; the arm has several configurations: choose one with --where COLUMN=VALUE"
    elif "trial" in rows and own["trial"].nunique() > 1:
        hint += "; trials of a search are not repetitions: give the runs of its winner"
    elif "step" not in rows:
        hint += "; if the rows are steps, give their column with --map step=COLUMN"
    what = "" if seeded else " (a repetition)"
    raise InputError(f"arm {first['arm']!r} has {times} rows for {place}{what}: {hint}")


def _refuse_missing(last: pd.DataFrame, metric: str) -> None:
    gone = last[last["missing"] & ~last["failed"]]
    if gone.empty:
        return
    first = gone.iloc[0]["arm"]
    seeds = gone[gone["arm"] == first]["seed"].tolist()
    raise InputError(
        f"{metric} is missing in {counted(len(gone), 'run')} (arm {first!r}, seeds "
        f"{listed(seeds)}): give --missing failed if they failed, otherwise complete or remove "
        "them"
    )


def _configurations(rows: pd.DataFrame) -> dict[str, int]:
    names = [name for name in rows.columns if str(name).startswith(CONFIG)]
    if not names:
        return {}
    # Per search: that searches end with different winners is what they are repeated for.
    found = rows.drop_duplicates(["arm", "replicate", *names]).groupby(["arm", "replicate"]).size()
    return {str(arm): int(count) for arm, count in found.groupby("arm").max().items()}


def _tuning_trials(rows: pd.DataFrame, metric: str, missing: Missing) -> pd.DataFrame | None:
    """Return the value of every trial of a search: the mean of its seeds at their last step."""
    if "trial" not in rows:
        return None
    rows = rows if "replicate" in rows else rows.assign(replicate=0)
    values, _ = numbers(rows, metric)
    failed = np.zeros(len(rows), dtype=bool)
    if "state" in rows:
        failed = rows["state"].map(lambda state: str(state).lower() in _FAILED).to_numpy(dtype=bool)
    rows = rows.assign(value=np.where(failed, np.nan, values))
    keys = ["arm", "replicate", "trial", *(["seed"] if "seed" in rows else [])]
    if "step" in rows:
        rows = rows.sort_values("step", kind="stable")
    ends = rows.groupby(keys, sort=False).tail(1)
    # A trial with a failed run is worse than all others.
    means = ends.groupby(keys[:3], sort=False)["value"].agg(lambda part: part.mean(skipna=False))
    return means.reset_index()


def _budgets(trials: pd.DataFrame | None) -> dict[str, int]:
    if trials is None or trials.empty:
        return {}
    found = trials.groupby(["arm", "replicate"]).size()
    return {str(arm): int(count) for arm, count in found.groupby("arm").max().items()}


def _began(frame: pd.DataFrame) -> pd.Timestamp | None:
    if "started_at" not in frame:
        return None
    times = pd.to_datetime(frame["started_at"], utc=True, errors="coerce", format="ISO8601")
    return None if times.isna().all() else times.min()


def _empty(starts: pd.Series) -> pd.Series:
    return starts.isna() | (starts.map(str) == "")


def _undated(frame: pd.DataFrame) -> str | None:
    """Return the first start that is no time."""
    if "started_at" not in frame:
        return None
    given = frame["started_at"][~_empty(frame["started_at"])]
    times = pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")
    unread = given[times.isna()]
    return None if unread.empty else str(unread.iloc[0])


def _selected(metric: str, rows: pd.DataFrame) -> tuple[str, ...]:
    if "phase" in rows and (rows["phase"] == "tune").all():
        return (
            "the runs are those of the search: a winner looks better than it is on the data that "
            "it was chosen on",
        )
    word = re.search(r"(?:^|[._/ -])(best|max|min|top)(?:$|[._/ -])", metric, re.IGNORECASE)
    if word is None:
        return ()
    return (
        f"by its name, the metric {metric} is the best of several values: the best epoch is "
        "chosen on the same data that its value is measured on, which favours noisier runs",
    )
