"""Compares two arms: runs in, a decision with its interval out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indian_tune.comparison.best_of import BestOf, best_of
from indian_tune.comparison.cautions import cautions_of
from indian_tune.comparison.contrast import Cells, Contrast, contrast, held_back, pairs_by_seed
from indian_tune.comparison.findings import Findings, PairingGain, Scope
from indian_tune.comparison.further import further
from indian_tune.comparison.intervals import largest, paired_difference, unpaired_difference
from indian_tune.comparison.sequential import ConfidenceSequence, sequence
from indian_tune.comparison.target import to_target
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.comparison.contrast import Pairing
    from indian_tune.comparison.runs import Runs

UNREGISTERED = "no comparison was registered before the runs"


@dataclass(frozen=True)
class Comparison(Findings):
    """All that was found of two arms, and how it is shown."""

    def __repr__(self) -> str:
        return f"<Comparison {self.a!r} - {self.b!r}: {self.label}>"

    def __str__(self) -> str:
        """Return the answer in plain words."""
        return self.sentence

    def as_dict(self) -> dict[str, Any]:
        """Return all as plain data; infinite bounds stay infinite."""
        return dataclasses.asdict(self)

    def markdown(self) -> str:
        """Return the comparison as Markdown, for a pull request."""
        from indian_tune.comparison.words import markdown

        return markdown(self)

    def page(self) -> str:
        """Return the comparison as one page of HTML, which fetches nothing."""
        from indian_tune.comparison.page import page

        return page(self)

    def _repr_markdown_(self) -> str:
        """Show it in a notebook."""
        return self.markdown()


def check_settings(a: str | None, b: str | None, delta: float | None, alpha: float) -> None:
    """Refuse settings that are out of range.

    Raises:
        InputError: one is.
    """
    if delta is not None and not (_is_number(delta) and delta > 0):
        raise InputError(f"delta = {delta!r} must be a number above 0, in the unit of the metric")
    if not (_is_number(alpha) and 0 < alpha < 0.5):
        raise InputError(f"alpha = {alpha!r} must be above 0 and below 0.5")
    if a is not None and a == b:
        raise InputError(f"a and b are both {a!r}: name two different arms")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def compare_runs(
    runs: Runs,
    a: str,
    b: str,
    *,
    delta: float | None = None,
    alpha: float = 0.05,
    pairing: Pairing = "auto",
    sequential: bool = False,
    target: float | None = None,
    exploratory: Sequence[str] = (UNREGISTERED,),
) -> Comparison:
    """Compare two arms.

    Args:
        runs: of both.
        a: the arm that may be better.
        b: the other one.
        delta: smallest effect of interest, in the unit of the metric; ``None`` for none.
        alpha: level of the two-sided interval.
        pairing: "auto" pairs by seed where the arms share seeds; "seed" or "none".
        sequential: whether the interval is to hold after every seed.
        target: value of the metric that runs are timed to.
        exploratory: why this is exploratory; empty where it was registered before the runs.

    Raises:
        InputError: the runs cannot be compared so.
    """
    from indian_tune.comparison.words import sentence_of

    check_settings(a, b, delta, alpha)
    if pairing not in ("auto", "seed", "none"):
        raise InputError(f"pairing = {pairing!r} must be 'auto', 'seed' or 'none'")
    for key, arm in (("a", a), ("b", b)):
        runs.require(key, arm)
    cells, least = Cells(runs), delta or 0.0
    paired = pairs_by_seed(cells, a, b, pairing)
    made, tasks = contrast(cells, a, b, delta=least, alpha=alpha, paired=paired)
    if tasks and (sequential or target is not None):
        option = "sequential" if sequential else "target"
        raise InputError(
            f"{option} needs runs of a single task, but there are {len(tasks)} tasks: choose one, "
            f"such as --where task={tasks[0].task}"
        )
    looks = None
    if sequential:
        if not made.paired:
            raise InputError(
                "sequential needs pairs of runs with the same seed: run both arms on the same "
                "seeds, and give the column of the seed (--map seed=COLUMN)"
            )
        kept = [pair for pair in made.pairs if all(map(math.isfinite, pair[1:]))]
        if not kept:
            raise InputError("sequential: every pair has a failed run, so add seeds")
        size = largest(np.array([pair[1:] for pair in kept]))
        units, values = [pair[0] for pair in kept], made.differences(runs.sign)
        looks = sequence(units, values, least, alpha, size)
        made = _sequential(made, looks)
    tuned: tuple[BestOf, ...] = ()
    if runs.trials is not None and runs.trials_of is not None:
        both = runs.trials[runs.trials["arm"].isin([a, b])]
        tuned = best_of(both, *runs.trials_of, alpha)
    unknown = made.label != "INCONCLUSIVE" or not made.difference.settled
    settled = unknown or made.held_back or tasks or sequential
    scope: Scope = "these tunings" if made.unit == "searches" else "these configurations"
    found = Comparison(
        a=a,
        b=b,
        metric=runs.metric,
        better=runs.better,
        delta=delta,
        alpha=alpha,
        label=made.label,
        sentence="",
        scope=scope,
        contrast=made,
        tasks=tasks,
        pairing=_gain(cells, made, runs.sign, alpha),
        further=None if settled else further(_groups(cells, made), least, alpha),
        sequence=looks,
        target=None
        if target is None
        else to_target(runs, a, b, target, paired=paired, alpha=alpha),
        best_of=tuned,
        cautions=cautions_of(runs, made, delta, tuned),
        exploratory=tuple(exploratory),
        notes=(*runs.notes, *_unshared(cells, a, b)),
    )
    return dataclasses.replace(found, sentence=sentence_of(found))


def _sequential(made: Contrast, looks: ConfidenceSequence) -> Contrast:
    """Return a contrast whose interval and label are those of a confidence sequence."""
    last = looks.looks[-1]
    difference = dataclasses.replace(made.difference, low=last.low, high=last.high)
    if difference.settled:
        difference = dataclasses.replace(difference, why="")
    elif difference.why != "equal":
        difference = dataclasses.replace(difference, why="few")
    bare = dataclasses.replace(made, difference=difference, held_back=())
    held = held_back(bare, looks.label)
    label = type(looks.label).INCONCLUSIVE if held else looks.label
    return dataclasses.replace(bare, label=label, held_back=held)


def _unshared(cells: Cells, a: str, b: str) -> list[str]:
    """Return what to say of tasks that only one of the arms has."""
    alone = [task for task in cells.tasks if bool(cells.of(a, task)) != bool(cells.of(b, task))]
    return [f"Tasks that only one arm has are excluded: {', '.join(alone)}."] if alone else []


def _groups(cells: Cells, made: Contrast) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    if made.paired:
        return [made.differences(cells.runs.sign)]
    return _values(cells, made)


def _values(cells: Cells, made: Contrast) -> list[np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the values of both arms on the only task, more being better; means of searches."""
    found = []
    for arm in (made.a, made.b):
        own: dict[Any, list[float]] = {}
        for (replicate, seed), value in cells.of(arm, cells.tasks[0]).items():
            if math.isfinite(value):
                unit = replicate if made.unit == "searches" else (replicate, seed)
                own.setdefault(unit, []).append(value)
        found.append(cells.runs.sign * np.array([np.mean(values) for values in own.values()]))
    return found


def _gain(cells: Cells, made: Contrast, sign: float, alpha: float) -> PairingGain:
    shared = alone = 0
    for task in cells.common_tasks(made.a, made.b):
        first, second = (cells.of(arm, task).keys() for arm in (made.a, made.b))
        if cells.runs.seeded:
            shared += len(first & second)
            alone += len(first ^ second)
        else:
            alone += len(first) + len(second)
    correlation = width = None
    table: np.ndarray[Any, np.dtype[np.float64]] = np.array(
        [pair[1:] for pair in made.pairs], dtype=np.float64
    ).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    if made.paired and len(table) > 2 and (np.ptp(table, axis=0) > 0).all():
        with np.errstate(invalid="ignore"):
            # Undefined for values so small that their squares vanish.
            correlation = float(np.nan_to_num(np.corrcoef(table.T)[0, 1]))
        columns = sign * table
        narrow = paired_difference(columns[:, 0] - columns[:, 1], alpha, largest(columns))
        wide = unpaired_difference(columns[:, 0], columns[:, 1], alpha)
        if narrow.settled and wide.settled:
            width = (narrow.high - narrow.low) / (wide.high - wide.low)
    return PairingGain(cells.runs.seeded, shared, alone, correlation, width)
