"""Comparisons of many arms: all against one, or all pairs, corrected for their number (Holm).

Two families of tests, each at half the level: that a difference is above 0, and that it is below δ.
Labels follow from the corrected p values; the intervals beside them are not corrected.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from indian_tune.analysis.label import Label, label_of
from indian_tune.comparison.cautions import few
from indian_tune.comparison.contrast import Cells, contrast, held_back, pairs_by_seed
from indian_tune.comparison.findings import ManyFindings, Row
from indian_tune.comparison.intervals import tail
from indian_tune.comparison.words import many_markdown
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.comparison.contrast import Contrast, Pairing
    from indian_tune.comparison.runs import Runs


class Many(ManyFindings):
    """Many contrasts, and how they are shown."""

    def as_dict(self) -> dict[str, Any]:
        """Return all as plain data; infinite bounds stay infinite."""
        return asdict(self)

    def markdown(self) -> str:
        """Return all as Markdown, for a pull request."""
        return many_markdown(self)

    def page(self) -> str:
        """Return all as one page of HTML, which fetches nothing."""
        from indian_tune.comparison.page import many_page

        return many_page(self)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values that are corrected for their number, step by step down (Holm, 1979)."""
    # As statsmodels has it, whose import takes longer than all comparisons do.
    order = np.argsort(values, kind="stable")
    steps = np.asarray(values, dtype=np.float64)[order] * np.arange(len(values), 0, -1)
    found = np.empty(len(values))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return found.tolist()


def least_of(rows: Sequence[Row]) -> Contrast:
    """Return the contrast of the fewest units."""
    return min((row.contrast for row in rows), key=lambda made: made.difference.n)


def compare_many(
    runs: Runs,
    *,
    baseline: str | None = None,
    delta: float | None = None,
    alpha: float = 0.05,
    pairing: Pairing = "auto",
    exploratory: tuple[str, ...] = (),
    cautions: tuple[str, ...] = (),
) -> Many:
    """Compare all arms with one, or with each other.

    Args:
        runs: of at least two arms.
        baseline: the one; ``None`` for all pairs.
        delta: smallest effect of interest; ``None`` for none.
        alpha: level of all together.
        pairing: "auto", "seed" or "none".
        exploratory: why this is exploratory.
        cautions: what to say beside it.

    Raises:
        InputError: there is one arm only, or two share no task.
    """
    arms = runs.arms
    if baseline is not None:
        runs.require("baseline", baseline)
        pairs = [(arm, baseline) for arm in arms if arm != baseline]
    else:
        pairs = list(combinations(arms, 2))
    if not pairs:
        raise InputError(f"there is only one arm, {arms[0]!r}: give the runs of at least two arms")
    cells, least = Cells(runs), delta or 0.0
    made = [
        contrast(cells, a, b, delta=least, alpha=alpha, paired=pairs_by_seed(cells, a, b, pairing))
        for a, b in pairs
    ]
    above, below = (
        holm([tail(one.difference, at, above=up) for one, _ in made])
        for at, up in ((0.0, True), (least, False))
    )
    rows = []
    for (one, tasks), p_above, p_below in zip(made, above, below, strict=True):
        low = 1.0 if p_above < alpha / 2 else -1.0
        # As label_of reads bounds: below δ or not.
        high = least - 1.0 if p_below < alpha / 2 else least + 1.0
        label = label_of(low, high, least)
        held = held_back(one, label)
        labelled = replace(one, label=Label.INCONCLUSIVE if held else label, held_back=held)
        rows.append(Row(labelled, p_above, p_below, tasks))
    return Many(
        metric=runs.metric,
        better=runs.better,
        delta=delta,
        alpha=alpha,
        baseline=baseline,
        tasks=tuple(cells.tasks) if len(cells.tasks) > 1 else (),
        rows=tuple(rows),
        exploratory=exploratory,
        cautions=(
            *cautions,
            f"p (Holm) is one-sided, for a better than b: SUPPORTED needs p < {alpha / 2:g}. "
            f"REFUTED rests on a test that the difference is below {delta or 0:g}, with its own "
            "Holm correction. The intervals are not corrected",
            *(caution.sentence for caution in few(least_of(rows))),
        ),
    )
