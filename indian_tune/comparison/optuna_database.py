"""Runs from a database of Optuna: a study is an arm, a trial is a run."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from indian_tune.columns import CONFIG
from indian_tune.errors import InputError, alternatives
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    import optuna

    from indian_tune.comparison.metric_names import Better

SEED = "seed"
# The metric that takes the reported values of every step.
INTERMEDIATE = "intermediate"
_STATES = {"COMPLETE": "complete", "FAIL": "failed"}
_UNFINISHED = ("RUNNING", "WAITING")


class OptunaTrials(NamedTuple):
    """What a database of Optuna holds.

    Attributes:
        frame: a row per trial, or per trial and step: columns arm and study (its name), trial,
            state, the metric, seed where a parameter or user attribute has that name, ``config.``
            for parameters, and user attributes.
        metric: that is compared.
        better: its direction.
        selected: why its values are selected, a sentence each.
        notes: which trials are left out, a sentence each.
    """

    frame: pd.DataFrame
    metric: str
    better: Better
    selected: list[str]
    notes: list[str]


def read_optuna(url: str, metric: str | None, only: Collection[str] = ()) -> OptunaTrials:
    """Return the trials of the studies of a database that have begun and are not running.

    A killed process leaves its trial running for ever.

    Args:
        url: of the database, which is not written to; or the path of a journal file.
        metric: name of an objective, of a user attribute, or ``intermediate`` for reported values;
            ``None`` for the only objective.
        only: studies that are read; all by default.

    Raises:
        InputError: it cannot be read, or its studies have different directions.
    """
    with contextlib.ExitStack() as stack:
        return _read(url, metric, only, stack)


def _read(
    url: str, metric: str | None, only: Collection[str], stack: contextlib.ExitStack
) -> OptunaTrials:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = _storage(url, stack)
        names = optuna.get_all_study_names(storage)
        for name in only:
            if name not in names:
                raise InputError(
                    f"study {name!r} is not in the database.{alternatives(name, names)}"
                )
        # The others need not be complete.
        names = [name for name in names if name in only or not only]
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
        every = {study.study_name: study.get_trials(deepcopy=False) for study in studies}
    except InputError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the source is not a database that Optuna can read: {first}") from error
    if not studies:
        raise InputError("the Optuna database contains no study: choose another database")
    rows, notes = {}, []
    for name, trials in every.items():
        rows[name] = [trial for trial in trials if trial.state.name not in _UNFINISHED]
        states = Counter(trial.state.name for trial in trials if trial.state.name in _UNFINISHED)
        if states:
            counts = " and ".join(f"{count} {state}" for state, count in sorted(states.items()))
            of = counted(len(trials), "trial")
            notes.append(f"Study {name!r} has {counts} of {of}: these are left out")
    found: list[dict[str, Any]] = []
    directions: dict[str, Better] = {}
    for study in studies:
        name, index, better = _objective(study, metric)
        directions[study.study_name] = better
        for trial in rows[study.study_name]:
            found += _rows(study.study_name, trial, name, index)
    if len(set(directions.values())) > 1:
        told = ", ".join(f"{name!r} {better}" for name, better in directions.items())
        raise InputError(
            f"the studies have different directions ({told} is better): compare studies with the "
            "same direction"
        )
    selected = [
        f"most trials of study {name!r} have the best of their reported values as their value: "
        "the best step is chosen on the same data that its value is measured on"
        for name, trials in rows.items()
        if metric is None and _chosen(trials, directions[name])
    ]
    frame = pd.DataFrame(found).astype({"value": object} if found else {})
    if metric == INTERMEDIATE and frame.empty:
        raise InputError("no trial has intermediate values: choose another metric")
    frame = frame.rename(columns={"value": name})
    return OptunaTrials(frame, name, next(iter(directions.values())), selected, notes)


def _storage(url: str, stack: contextlib.ExitStack) -> optuna.storages.BaseStorage:
    """Open a database or journal file, until the stack is closed."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" not in url:
        return JournalStorage(JournalFileBackend(url))
    # Neither tables nor a version are written to what is not ours.
    storage = RDBStorage(url, skip_compatibility_check=True, skip_table_creation=True)
    stack.callback(storage.engine.dispose)
    stack.callback(storage.remove_session)
    return storage


def _objective(study: optuna.Study, metric: str | None) -> tuple[str, int | None, Better]:
    """Return the name of what is compared, the objective that it is, and its direction."""
    names = study.metric_names or (
        ["value"]
        if len(study.directions) == 1
        else [f"values_{n}" for n in range(len(study.directions))]
    )
    ways: list[Better] = [
        "lower" if way.name == "MINIMIZE" else "higher" for way in study.directions
    ]
    if metric is None and len(names) > 1:
        raise InputError(
            f"study {study.study_name!r} has several objectives: choose one with --metric "
            f"({', '.join(names)})"
        )
    if metric is None or metric in names:
        index = 0 if metric is None else names.index(metric)
        return names[index], index, ways[index]
    if metric == INTERMEDIATE:
        return metric, None, ways[0]
    known = {key for trial in study.get_trials(deepcopy=False) for key in trial.user_attrs}
    if metric not in known:
        raise InputError(
            f"metric = {metric!r} is not an objective or user attribute of study "
            f"{study.study_name!r}.{alternatives(metric, {*names, *known, INTERMEDIATE})}"
        )
    return metric, None, ways[0]


def _rows(
    arm: str, trial: optuna.trial.FrozenTrial, metric: str, index: int | None
) -> list[dict[str, Any]]:
    params = dict(trial.params)
    attributes = {key: value for key, value in trial.user_attrs.items() if _plain(value)}
    seed = params.pop(SEED, attributes.pop(SEED, None))
    row: dict[str, Any] = {
        **attributes,
        "arm": arm,
        "study": arm,
        "trial": trial.number,
        "state": _STATES.get(trial.state.name, trial.state.name.lower()),
        **({} if seed is None else {SEED: seed}),
        **{f"{CONFIG}{name}": value for name, value in params.items()},
    }
    if trial.datetime_start is not None:
        row["started_at"] = trial.datetime_start.astimezone().isoformat()
    if metric == INTERMEDIATE and index is None:
        steps = trial.intermediate_values
        return [{**row, "step": step, "value": value} for step, value in steps.items()]
    if index is None:
        return [{**row, "value": trial.user_attrs.get(metric)}]
    return [{**row, "value": None if trial.values is None else trial.values[index]}]


def _chosen(trials: list[optuna.trial.FrozenTrial], better: Better) -> bool:
    """Return whether values are the best that was reported, not the last."""
    best = min if better == "lower" else max
    odd = whole = 0
    for trial in trials:
        reported = trial.intermediate_values
        if len(reported) > 1 and trial.value is not None:
            whole += 1
            odd += trial.value == best(reported.values()) != reported[max(reported)]
    return 2 * odd > whole


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
