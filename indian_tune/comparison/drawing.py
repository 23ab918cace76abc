"""Figures of a comparison: its pairs, its interval against ±δ, and its curve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.style import INDIAN, INK, PALE, RIVALS, canvas, tidy
from indian_tune.comparison.words import ONE, decimals, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from indian_tune.comparison.findings import Findings, ManyFindings

_SECOND = RIVALS[0]


def exhibits(found: Findings) -> Iterator[Exhibit]:
    """Yield the figures of a comparison that its source has data for."""
    yield _interval(found)
    if found.contrast.paired and found.contrast.pairs and not found.tasks:
        yield _pairs(found)
    if found.sequence is not None:
        yield _sequence(found)
    if found.target is not None:
        yield _target(found)
    if found.best_of:
        yield _best_of(found)


def many_exhibit(found: ManyFindings) -> Exhibit:
    """Return the intervals of many contrasts."""
    rows = [
        (f"{row.contrast.a} − {row.contrast.b}", row.contrast.difference, str(row.contrast.label))
        for row in found.rows
    ]
    table = pd.DataFrame(
        [(name, d.estimate, d.low, d.high, label) for name, d, label in rows],
        columns=["contrast", "difference", "low", "high", "label"],
    )
    return Exhibit(
        name="intervals",
        title="Differences and their intervals",
        caption="Above 0 the first arm is better. Labels are corrected for the number of "
        "comparisons; intervals are not.",
        alt=f"{len(rows)} differences with their intervals; the numbers are in the table.",
        figure=_forest([(n, d.estimate, d.low, d.high) for n, d, _ in rows], found.delta),
        table=table,
    )


def _forest(rows: list[tuple[str, float, float, float]], delta: float | None) -> Figure:
    figure = canvas(0.7 + 0.28 * len(rows))
    axes = figure.subplots()
    ends = [v for _, *row in rows for v in row if math.isfinite(v)]
    reach = max([abs(v) for v in ends] + [1.5 * (delta or 0.0)], default=1.0) or 1.0
    if delta is not None:
        axes.axvspan(-delta, delta, color=PALE, alpha=0.3, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, (_, estimate, low, high) in enumerate(rows):
        left, right = (float(np.clip(v, -1.3 * reach, 1.3 * reach)) for v in (low, high))
        axes.plot([left, right], [place, place], color=INDIAN, linewidth=1.5)
        for end, marker in ((low, "<"), (high, ">")):
            if math.isinf(end):
                axes.plot(
                    math.copysign(1.3 * reach, end), place, marker, color=INDIAN, markersize=4
                )
        if math.isfinite(estimate):
            axes.plot(estimate, place, "o", color=INDIAN, markersize=4.5)
    axes.set_yticks(range(len(rows)), [_plain(name) for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-1.4 * reach, 1.4 * reach)
    axes.set_xlabel("difference (above 0: the first is better)")
    # Labels of five and more decimals would touch.
    axes.locator_params(axis="x", nbins=5)
    tidy(axes)
    return figure


def _interval(found: Findings) -> Exhibit:
    parts = [found.contrast, *found.tasks]
    rows = [
        (
            part.task or ("average" if found.tasks else f"{found.a} − {found.b}"),
            part.difference.estimate,
            part.difference.low,
            part.difference.high,
        )
        for part in parts
    ]
    band = "" if found.delta is None else f" The band is ±δ = ±{found.delta:g}."
    places = decimals(found.contrast.difference)
    first = rows[0]
    ends = " to ".join(shown(value, places, sign=True) for value in first[2:])
    return Exhibit(
        name="interval",
        title="The difference",
        caption=f"Difference in {found.metric} with its interval; above 0, {found.a} is better."
        f"{band}",
        alt=f"Difference {shown(first[1], places, sign=True)}, interval {ends}.",
        figure=_forest(rows, found.delta),
        table=pd.DataFrame(rows, columns=["task", "difference", "low", "high"]),
    )


def _pairs(found: Findings) -> Exhibit:
    table = pd.DataFrame(list(found.contrast.pairs), columns=["unit", found.a, found.b])
    figure = canvas(2.6)
    axes = figure.subplots()
    for _, a, b in found.contrast.pairs:
        axes.plot([0, 1], [b, a], color=PALE, linewidth=1, zorder=1)
    for place, arm, color in ((0, found.b, _SECOND), (1, found.a, INDIAN)):
        axes.plot([place] * len(table), table[arm], "o", color=color, markersize=4, zorder=2)
    axes.set_xticks([0, 1], [_plain(found.b), _plain(found.a)])
    axes.set_xlim(-0.4, 1.4)
    axes.set_ylabel(_plain(found.metric))
    tidy(axes)
    ahead = round(found.contrast.superiority.estimate * len(table))
    return Exhibit(
        name="pairs",
        title="Pair by pair",
        caption=f"One line per {ONE[found.contrast.unit]}: if all lines rise or all fall, every "
        f"{ONE[found.contrast.unit]} shows the difference.",
        alt=f"{found.a} is ahead in {ahead} of {len(table)} pairs.",
        figure=figure,
        table=table,
    )


def _sequence(found: Findings) -> Exhibit:
    assert found.sequence is not None
    looks = pd.DataFrame([vars(look) for look in found.sequence.looks])
    figure = canvas(2.6)
    axes = figure.subplots()
    _band(axes, looks["n"], looks["estimate"], looks["low"], looks["high"], INDIAN, found.a)
    axes.axhline(0, color=INK, linewidth=0.8)
    if found.delta is not None:
        axes.axhspan(-found.delta, found.delta, color=PALE, alpha=0.3, linewidth=0)
    axes.set_xlabel(found.contrast.unit)
    axes.set_ylabel("difference")
    tidy(axes)
    at = found.sequence.settled_at
    said = "There is no decision yet." if at is None else f"There is a decision after {at}."
    return Exhibit(
        name="sequence",
        title="Sequential interval",
        caption="The interval after each further pair. It is valid for all of them together, so "
        f"one may stop at any pair. {said}",
        alt=said,
        figure=figure,
        table=looks.assign(label=looks["label"].map(str)),
    )


def _target(found: Findings) -> Exhibit:
    assert found.target is not None
    figure = canvas(2.6)
    axes = figure.subplots()
    rows = []
    for arm, color in zip(found.target.arms, (INDIAN, _SECOND), strict=True):
        steps = [step for step in arm.steps if math.isfinite(step)]
        shares = np.arange(1, len(steps) + 1) / arm.runs
        axes.step([0, *steps], [0, *shares], where="post", color=color, label=_plain(arm.arm))
        rows += [(arm.arm, step, share) for step, share in zip(steps, shares, strict=True)]
        if math.isfinite(arm.low):
            right = arm.high if math.isfinite(arm.high) else max(steps)
            axes.plot([arm.low, right], [0.5, 0.5], color=color, linewidth=3, alpha=0.4)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("steps")
    axes.set_ylabel("share of runs at the target")
    axes.legend(fontsize=8, frameon=False)
    tidy(axes)
    return Exhibit(
        name="target",
        title=f"Steps to {found.metric} {found.target.target:g}",
        caption="Share of runs that have reached the target; bars are intervals of the medians.",
        alt="; ".join(f"{arm.arm}: {arm.reached} of {arm.runs}" for arm in found.target.arms),
        figure=figure,
        table=pd.DataFrame(rows, columns=["arm", "step", "share"]),
    )


def _best_of(found: Findings) -> Exhibit:
    figure = canvas(2.6)
    axes = figure.subplots()
    colors = {found.a: INDIAN, found.b: _SECOND}
    rows = []
    for curve in found.best_of:
        # Of few trials the better end is not known, and of very few neither is.
        ends = [
            np.where(np.isfinite(end), end, curve.median) for end in (curve.worse, curve.better)
        ]
        low, high = np.minimum(*ends), np.maximum(*ends)
        _band(axes, curve.n, curve.median, low, high, colors[curve.arm], _plain(curve.arm))
        rows += [
            (curve.arm, *values)
            for values in zip(curve.n, curve.median, curve.worse, curve.better, strict=True)
        ]
    axes.set_xlabel("trials of the search")
    axes.set_ylabel(f"{found.best_of[0].metric} of the best")
    axes.legend(fontsize=8, frameon=False)
    tidy(axes)
    return Exhibit(
        name="best-of-n",
        title="Effect of the tuning budget",
        caption="Median of the best of n trials of the search. The band is valid for all n "
        "together if trials are drawn at random; adaptive samplers improve faster. Where one of "
        "its ends is not known, as the better one of few trials, the band ends at the median.",
        alt="; ".join(f"{c.arm}: {c.median[0]:.4g} to {c.median[-1]:.4g}" for c in found.best_of),
        figure=figure,
        table=pd.DataFrame(rows, columns=["arm", "n", "median", "worse", "better"]),
    )


def _plain(name: str) -> str:
    """Return a name that matplotlib shows as it is: no mathematics, no label that it hides."""
    text = name.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _band(
    axes: Axes, x: object, middle: object, low: object, high: object, color: str, label: str
) -> None:
    places, lower, upper = (np.asarray(part, dtype=float) for part in (x, low, high))
    whole = np.isfinite(lower) & np.isfinite(upper)
    axes.fill_between(places, lower, upper, where=whole, color=color, alpha=0.2, linewidth=0)
    axes.plot(places, np.asarray(middle, dtype=float), color=color, linewidth=1.5, label=label)
