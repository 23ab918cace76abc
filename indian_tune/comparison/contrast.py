"""The difference of two arms, its interval, and failures.

A difference is signed so that above 0 the first arm is better. Paired, the interval is of a t over
the differences of the units (seeds, or searches where there are several); else it is Welch's. Runs
that failed are in no mean; they are an outcome of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from indian_tune.analysis.combined import average_of
from indian_tune.analysis.label import Label, label_of
from indian_tune.comparison.intervals import (
    Difference,
    Superiority,
    discordant_p,
    fisher_p,
    largest,
    paired_difference,
    paired_superiority,
    unpaired_difference,
    unpaired_superiority,
)
from indian_tune.errors import InputError
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from indian_tune.comparison.runs import Runs

Pairing = Literal["auto", "seed", "none"]
Unit = Literal["seeds", "runs", "searches"]
# More pairs left out than this, and what is left no longer speaks of the arms.
MOST_LEFT_OUT = 0.2
Key = tuple[int, "Hashable"]


@dataclass(frozen=True)
class ArmSummary:
    """One arm by itself.

    Attributes:
        arm: its name.
        runs: that are compared.
        failed: of these.
        mean: over the runs that did not fail; NaN without any.
        deviation: standard deviation; NaN with fewer than two.
    """

    arm: str
    runs: int
    failed: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class Contrast:
    """Two arms on one task, or on average of several.

    Attributes:
        a: the first arm.
        b: the second arm.
        task: that it speaks of; empty for the only one, or for the average of several.
        difference: above 0 where A is better, in the unit of the metric.
        paired: whether by seed.
        unit: of the interval.
        left_out: pairs, or runs, of which one failed.
        out_of: all of them.
        failures_p: exact p of both arms failing as often; 1 where none fails.
        superiority: P(A better than B).
        of_a: the first arm by itself.
        of_b: the second.
        label: what the interval and the failures allow to be said.
        held_back: why a label that the interval alone allows is not given.
        pairs: unit, value of A, value of B; NaN for a failed run.
    """

    a: str
    b: str
    task: str
    difference: Difference
    paired: bool
    unit: Unit
    left_out: int
    out_of: int
    failures_p: float
    superiority: Superiority
    of_a: ArmSummary
    of_b: ArmSummary
    label: Label
    held_back: tuple[str, ...]
    pairs: tuple[tuple[str, float, float], ...]

    def differences(self, sign: float) -> NDArray[np.float64]:
        """Return the differences of the units of which both runs trained, in order."""
        table = np.array([(a, b) for _, a, b in self.pairs], dtype=np.float64).reshape(-1, 2)
        found = sign * (table[:, 0] - table[:, 1])
        return found[np.isfinite(found)]


class Cells:
    """The values of runs by arm and task, ready to be compared many times.

    Args:
        runs: to be compared.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.tasks = list(dict.fromkeys(runs.table["task"]))
        self._values: dict[tuple[str, str], dict[Key, float]] = {}
        columns = (runs.table[name].tolist() for name in ("arm", "task", "replicate", "seed"))
        for arm, task, replicate, seed, value in zip(*columns, runs.table["value"], strict=True):
            self._values.setdefault((arm, task), {})[(replicate, seed)] = float(value)

    def of(self, arm: str, task: str) -> dict[Key, float]:
        """Return the value of every run of an arm by search and seed, NaN if it failed."""
        return self._values.get((arm, task), {})

    def common_tasks(self, a: str, b: str) -> list[str]:
        """Return the tasks on which both arms have runs.

        Raises:
            InputError: there is none.
        """
        tasks = [task for task in self.tasks if self.of(a, task) and self.of(b, task)]
        if not tasks:
            raise InputError(
                f"arms {a!r} and {b!r} have no task in common: compare arms that have one"
            )
        return tasks


def pairs_by_seed(cells: Cells, a: str, b: str, pairing: Pairing) -> bool:
    """Return whether two arms are compared seed by seed.

    Raises:
        InputError: pairing is asked for, and they share no seed.
    """
    if pairing == "none":
        return False
    tasks = cells.common_tasks(a, b)
    shared = sum(len(cells.of(a, task).keys() & cells.of(b, task).keys()) for task in tasks)
    fewer = min(sum(len(cells.of(arm, task)) for task in tasks) for arm in (a, b))
    if pairing == "seed":
        if not cells.runs.seeded:
            raise InputError(
                "pairing = 'seed' needs a column seed, but there is none: choose it with --map "
                "seed=COLUMN"
            )
        if not shared:
            raise InputError(
                f"arms {a!r} and {b!r} have no seed in common: run both on the same seeds, or "
                "give pairing = 'none'"
            )
        return True
    # One that is shared by chance pairs nothing.
    return cells.runs.seeded and shared > (0 if fewer == 1 else 1) and 2 * shared >= fewer


def contrast(
    cells: Cells, a: str, b: str, *, delta: float, alpha: float, paired: bool
) -> tuple[Contrast, tuple[Contrast, ...]]:
    """Compare two arms.

    Args:
        cells: of the runs.
        a: the first arm.
        b: the second.
        delta: smallest effect of interest; 0 for none, where nothing is negligible.
        alpha: level of the two-sided interval.
        paired: whether by seed.

    Returns:
        The contrast, on average of all tasks where there are several; then also that of every task.
    """
    tasks = cells.common_tasks(a, b)
    parts = tuple(_on_task(cells, a, b, task, delta, alpha, paired=paired) for task in tasks)
    if len(parts) == 1:
        return parts[0], ()
    named = tuple(_labelled(part, delta) for part in parts)
    return _labelled(_average(parts, alpha), delta), named


def _on_task(
    cells: Cells, a: str, b: str, task: str, delta: float, alpha: float, *, paired: bool
) -> Contrast:
    first, second = cells.of(a, task), cells.of(b, task)
    searches = min(len({replicate for replicate, _ in own}) for own in (first, second)) > 1
    unit: Unit = "searches" if searches else "seeds" if paired else "runs"
    shown = task if len(cells.tasks) > 1 else ""
    sign = cells.runs.sign
    if paired:
        keys = [key for key in first if key in second]
        table = np.array([(first[key], second[key]) for key in keys]).reshape(-1, 2)
        both = np.isfinite(table).all(axis=1)
        if searches:
            named = _means([replicate for replicate, _ in keys], table)
            pairs = [(unit, float(row[0]), float(row[1])) for unit, row in named.items()]
        else:
            pairs = [(str(seed), first[(r, seed)], second[(r, seed)]) for r, seed in keys]
        values = sign * np.array([one - other for _, one, other in pairs])
        size = largest(np.array([pair[1:] for pair in pairs]))
        difference = paired_difference(values[np.isfinite(values)], alpha, size)
        superiority = paired_superiority(pairs, sign, alpha)
        left_out, out_of = int((~both).sum()), len(keys)
        failures = discordant_p(np.isnan(table))
    else:
        pairs = []
        groups = []
        for own in (first, second):
            values = np.array(list(own.values()))
            if searches:
                means = _means([replicate for replicate, _ in own], values[:, None])
                values = np.concatenate(list(means.values()))
            groups.append(values)
        trained = [values[np.isfinite(values)] for values in groups]
        difference = unpaired_difference(sign * trained[0], sign * trained[1], alpha)
        superiority = unpaired_superiority(sign * groups[0], sign * groups[1], alpha)
        every = np.array([*first.values(), *second.values()])
        left_out, out_of = int(np.isnan(every).sum()), len(every)
        failures = fisher_p(first.values(), second.values())
    made = Contrast(
        a=a,
        b=b,
        task=shown,
        difference=difference,
        paired=paired,
        unit=unit,
        left_out=left_out,
        out_of=out_of,
        failures_p=failures,
        superiority=superiority,
        of_a=_summary(a, [first[key] for key in keys] if paired else list(first.values())),
        of_b=_summary(b, [second[key] for key in keys] if paired else list(second.values())),
        label=Label.INCONCLUSIVE,
        held_back=(),
        pairs=tuple(pairs),
    )
    return _labelled(made, delta)


def _means(units: Sequence[Hashable], table: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the mean row of every unit over its runs that trained, by its name."""
    rows: dict[Hashable, list[NDArray[np.float64]]] = {}
    for unit, row in zip(units, table, strict=True):
        rows.setdefault(unit, []).append(row)
    found = {}
    for unit, own in rows.items():
        kept = [row for row in own if np.isfinite(row).all()]
        found[str(unit)] = np.mean(kept, axis=0) if kept else np.full(table.shape[1], np.nan)
    return found


def _labelled(made: Contrast, delta: float) -> Contrast:
    """Return a contrast with the label that interval and failures allow."""
    label = label_of(made.difference.low, made.difference.high, delta)
    held = held_back(made, label)
    return replace(made, label=Label.INCONCLUSIVE if held else label, held_back=held)


def held_back(made: Contrast, label: Label) -> tuple[str, ...]:
    """Return why a label that the interval alone allows is not given: what failed decides more."""
    if label is Label.INCONCLUSIVE:
        return ()
    noun = "pair" if made.paired else "run"
    reasons = []
    if made.left_out > MOST_LEFT_OUT * made.out_of:
        reasons.append(
            f"{made.left_out} of {counted(made.out_of, noun)} failed and are excluded, more than "
            f"{100 * MOST_LEFT_OUT:g} %"
        )
    ours, theirs = made.of_a, made.of_b
    better, worse = (
        (ours, theirs) if label in (Label.SUPPORTED, Label.NEGLIGIBLE) else (theirs, ours)
    )
    if better.failed * worse.runs > worse.failed * better.runs:
        reasons.append(
            f"{better.arm} fails in {better.failed} of {better.runs} runs, {worse.arm} in "
            f"{worse.failed} of {worse.runs}"
        )
    return tuple(reasons)


def _average(parts: Sequence[Contrast], alpha: float) -> Contrast:
    first = parts[0]
    known = [part.difference for part in parts]
    estimates = [each.estimate for each in known]
    amount, freedom = average_of(
        estimates,
        [each.error for each in known],
        [each.freedom for each in known],
        alpha / 2,
        alpha / 2,
    )
    error = math.sqrt(sum(each.error**2 for each in known)) / len(known)
    mean = float(np.mean(estimates))
    difference = Difference(
        mean, amount.low, amount.high, error, freedom, sum(each.n for each in known)
    )
    shares = float(np.mean([part.superiority.estimate for part in parts]))
    return Contrast(
        a=first.a,
        b=first.b,
        task="",
        difference=difference,
        paired=first.paired,
        unit=first.unit,
        left_out=sum(part.left_out for part in parts),
        out_of=sum(part.out_of for part in parts),
        failures_p=min(1.0, min(part.failures_p for part in parts) * len(parts)),
        superiority=Superiority(shares, math.nan, math.nan),
        of_a=_together([part.of_a for part in parts]),
        of_b=_together([part.of_b for part in parts]),
        label=Label.INCONCLUSIVE,
        held_back=(),
        pairs=tuple(
            (f"{part.task} {unit}", one, other) for part in parts for unit, one, other in part.pairs
        ),
    )


def _together(parts: Sequence[ArmSummary]) -> ArmSummary:
    runs, failed = sum(part.runs for part in parts), sum(part.failed for part in parts)
    return ArmSummary(parts[0].arm, runs, failed, float(np.mean([p.mean for p in parts])), math.nan)


def _summary(arm: str, values: Sequence[float]) -> ArmSummary:
    kept = np.array([value for value in values if math.isfinite(value)])
    return ArmSummary(
        arm=arm,
        runs=len(values),
        failed=len(values) - len(kept),
        mean=float(kept.mean()) if len(kept) else math.nan,
        deviation=float(kept.std(ddof=1)) if len(kept) > 1 else math.nan,
    )
