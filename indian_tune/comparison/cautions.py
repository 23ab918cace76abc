"""Warnings about a comparison, found in the source or asked of the reader."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from indian_tune.comparison.best_of import BestOf
    from indian_tune.comparison.contrast import Contrast
    from indian_tune.comparison.runs import Runs

# Up to so many pairs, what is said relies on differences being about normal.
FEW = 5
# Test examples up to which a metric is a lattice of few.
FEW_EXAMPLES = 1000
_NO_SHARE = re.compile(r"loss|nll|bpb|bpc|perplexity|ppl|mse|mae|seconds|time", re.IGNORECASE)


@dataclass(frozen=True)
class Caution:
    """One thing not to believe.

    Attributes:
        key: its name, for programs.
        sentence: in plain words.
        asked: whether the source does not show it, so that it is a question.
    """

    key: str
    sentence: str
    asked: bool = False


def cautions_of(
    runs: Runs, made: Contrast, delta: float | None, tuned: Sequence[BestOf]
) -> tuple[Caution, ...]:
    """Return what to say beside a comparison of two arms."""
    return (
        *few(made),
        *_copies(made),
        *_selection(runs, made),
        *_budgets(runs, made, tuned),
        *_values(runs, made, delta),
        *_horizons(runs, made),
    )


def few(made: Contrast) -> Iterator[Caution]:
    """Yield what few seeds cannot show."""
    n = (
        made.difference.n
        if made.paired
        else min(arm.runs - arm.failed for arm in (made.of_a, made.of_b))
    )
    one = made.unit.removesuffix("es") if made.unit == "searches" else made.unit.removesuffix("s")
    if n == 1:
        yield Caution(
            "one-seed",
            f"One {one} per arm shows no variation, so a difference may come from the {one} "
            f"alone: use {FEW} or more of each arm",
        )
    elif 1 < n <= FEW:
        smallest = 2.0 ** (1 - n) if made.paired else 2 / math.comb(2 * n, n)
        yield Caution(
            "few-seeds",
            f"With {counted(n, one, made.unit)} the interval assumes normally distributed values: "
            f"a test without this assumption cannot give p < {smallest:.2g}",
        )


def _copies(made: Contrast) -> Iterator[Caution]:
    """Yield that runs may have been copied under other seeds: copies are no further evidence."""
    pairs = [pair for _, *pair in made.pairs]
    repeated = len(pairs) - len({tuple(pair) for pair in pairs})
    if len(pairs) > FEW and repeated >= len(pairs) / 2:
        yield Caution(
            "copies",
            f"{repeated} of {len(pairs)} pairs have the values of another pair: were runs copied, "
            "or seeds not used? Copies make the interval too short",
        )


def _selection(runs: Runs, made: Contrast) -> Iterator[Caution]:
    for sentence in runs.selected:
        yield Caution("selection", sentence[0].upper() + sentence[1:])
    for arm in (made.a, made.b):
        count = runs.configurations.get(arm, 1)
        if count > 1:
            yield Caution(
                "configurations",
                f"The runs of {arm} have {count} different configurations: the comparison is "
                "about the sampled configurations, not about one tuned configuration",
            )
    if not runs.selected and runs.curves is None:
        yield Caution(
            "selection",
            f"Is {runs.metric} the value of the last epoch? The best epoch would be chosen on the "
            "same data that its value is measured on",
            asked=True,
        )
    if not runs.budgets:
        yield Caution(
            "winners",
            "Were the configurations chosen on other data and seeds than these? Winners look "
            "better than they are on the data that they were chosen on",
            asked=True,
        )
    elif "validation" in runs.metric or runs.metric.startswith("val"):
        yield Caution(
            "winners",
            f"The configurations were chosen on validation data, so {runs.metric} may make them "
            "look better than they are: test data do not have this bias",
        )


def _budgets(runs: Runs, made: Contrast, tuned: Sequence[BestOf]) -> Iterator[Caution]:
    counts = [runs.budgets.get(arm) for arm in (made.a, made.b)]
    if None in counts:
        if runs.budgets or counts == [None, None]:
            yield Caution(
                "budgets",
                "Did both arms have the same tuning budget? The arm with more trials has an "
                "advantage",
                asked=True,
            )
        return
    if counts[0] == counts[1]:
        return
    least = min(count for count in counts if count is not None)
    said = (
        f"Tuning budgets differ: {made.a} was chosen from {counts[0]} trials, {made.b} from "
        f"{counts[1]}"
    )
    curves = {curve.arm: curve for curve in tuned}
    if made.a in curves and made.b in curves:
        at = [f"{curves[arm].at(least):.4g} for {arm}" for arm in (made.a, made.b)]
        metric = curves[made.a].metric
        said += f"; the median {metric} of the best of {least} trials is {' and '.join(at)}"
    yield Caution("budgets", said)


def _values(runs: Runs, made: Contrast, delta: float | None) -> Iterator[Caution]:
    # Of single runs: means of several look like shares of more examples.
    table = runs.table[runs.table["arm"].isin([made.a, made.b])]
    values = table["value"].to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return
    # A loss of few digits is rounded; it is no share of examples.
    loss = _NO_SHARE.search(runs.metric)
    top = None if loss else _bound(values, runs)
    if top is not None:
        share = float((values == top).mean())
        if share >= 0.25:
            yield Caution(
                "saturation",
                f"{100 * share:.0f} % of the values of {runs.metric} are {top:g}, its best "
                "possible value, so the metric cannot show how much the arms differ",
            )
    count = examples(values) if runs.examples is None else runs.examples
    if loss or not count or not _shares(values, count):
        if "test" in runs.metric:
            yield Caution(
                "examples",
                f"How much would {runs.metric} change with other test examples? The interval does "
                "not include this: compute it, for example by a bootstrap over the examples",
                asked=True,
            )
        return
    if count > FEW_EXAMPLES:
        return
    scale = 100.0 if values.max() > 1 else 1.0
    shares = values / scale
    spread = scale * math.sqrt(max(float(np.mean(shares * (1 - shares))), 0.0) / count)
    of = "test examples" if "test" in runs.metric else "examples"
    rounded = " (or values are rounded)" if count in (10, 100, 1000) else ""
    said = (
        f"There are {count} {of}{rounded}, so one of them is {scale / count:.3g} of {runs.metric}. "
        f"With other {of} each value would change by about {spread:.2g}; the interval does not "
        "include this"
    )
    if delta is not None and delta < 3 * scale / count:
        said += f". δ = {delta:g} is less than three {of}"
    yield Caution("lattice", said)


def _bound(values: NDArray[np.float64], runs: Runs) -> float | None:
    """Return the best possible value of a share or a percentage, ``None`` of other metrics."""
    if values.min() < 0 or values.max() > 100:
        return None
    if runs.better == "lower":
        return 0.0
    return 1.0 if values.max() <= 1 else 100.0


def examples(values: NDArray[np.float64]) -> int | None:
    """Return of how few examples shares or percentages can be; ``None`` if of many.

    Args:
        values: at least two, finite.
    """
    if values.min() < 0 or values.max() > 100 or np.ptp(values) == 0:
        return None
    shares = values / (100.0 if values.max() > 1 else 1.0)
    counts = np.arange(2, FEW_EXAMPLES + 1)
    steps = shares[:, None] * counts
    # Of float32, and of numbers printed with six digits.
    near = np.abs(steps - np.round(steps)).max(axis=0) <= np.minimum(5e-6 * counts, 0.01)
    # Few values lie on some lattice by chance: each must be a share of it far too rarely.
    chance = (np.minimum(1e-5 * counts, 0.02)) ** min(len(np.unique(shares)), 50)
    fits = near & (chance * counts < 1e-3)
    if not fits.any():
        return None
    return int(counts[fits][0])


def _shares(values: NDArray[np.float64], count: int) -> bool:
    """Whether values are shares or percentages of so many examples."""
    steps = values * count / (100.0 if values.max() > 1 else 1.0)
    return bool((np.abs(steps - np.round(steps)) <= 0.01).all())


def _horizons(runs: Runs, made: Contrast) -> Iterator[Caution]:
    table = runs.table[~runs.table["failed"] & runs.table["arm"].isin([made.a, made.b])]
    steps = table["steps"].dropna()
    if len(steps) and steps.min() != steps.max():
        yield Caution(
            "horizons",
            f"Runs end at different steps, from {steps.min():g} to {steps.max():g}: the "
            "difference may come from longer training",
        )
