"""Many arms at once: all against one, or all pairs, corrected for their number (Holm).

Two families of tests, each at half the level: that a difference is above 0, and that it is below δ.
Labels follow from the corrected p values; the intervals beside them are not corrected.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

from indian_tune.analysis.label import Label, label_of
from indian_tune.comparison.contrast import Cells, Contrast, contrast, held_back, pairs_by_seed
from indian_tune.comparison.intervals import tail
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from indian_tune.comparison.contrast import Pairing
    from indian_tune.comparison.runs import Runs


@dataclass(frozen=True)
class Row:
    """One of many contrasts.

    Attributes:
        contrast: with its label after the correction; its interval has no correction.
        p_above: corrected one-sided p of a difference that is not above 0.
        p_below: that of a difference that is not below δ.
        tasks: the contrast on every task, without a correction; none where there is one task.
    """

    contrast: Contrast
    p_above: float
    p_below: float
    tasks: tuple[Contrast, ...]


@dataclass(frozen=True)
class Many:
    """Many contrasts.

    Attributes:
        metric: that is compared.
        better: whether a lower or a higher value is better.
        delta: smallest effect of interest; ``None`` for none.
        alpha: level of all of them together.
        baseline: the arm that all others are compared with; ``None`` for all pairs.
        tasks: that are averaged; none where there is one.
        rows: the contrasts.
        exploratory: why this is exploratory.
        cautions: what must not be believed.
    """

    metric: str
    better: str
    delta: float | None
    alpha: float
    baseline: str | None
    tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    exploratory: tuple[str, ...]
    cautions: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return all as plain data; infinite bounds stay infinite."""
        import dataclasses

        return dataclasses.asdict(self)


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
    from statsmodels.stats.multitest import multipletests

    arms = runs.arms
    if baseline is not None:
        runs.require("baseline", baseline)
        pairs = [(arm, baseline) for arm in arms if arm != baseline]
    else:
        pairs = list(combinations(arms, 2))
    if not pairs:
        raise InputError(f"there is one arm only, {arms[0]!r}: give the runs of at least two")
    cells, least = Cells(runs), delta or 0.0
    made = [
        contrast(cells, a, b, delta=least, alpha=alpha, paired=pairs_by_seed(cells, a, b, pairing))
        for a, b in pairs
    ]
    above, below = (
        multipletests(
            [tail(one.difference, at, above=up) for one, _ in made], alpha / 2, method="holm"
        )[1].tolist()
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
        cautions=cautions,
    )
