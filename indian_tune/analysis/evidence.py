"""The input of a hypothesis: runs, claims, and information on the searches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.ends import unit_means
from indian_tune.analysis.estimates import Bounds, bounds, example_variance
from indian_tune.analysis.label import Label, label_of
from indian_tune.analysis.power import power
from indian_tune.analysis.verdict import Amount, Contrast, Finding
from indian_tune.outcome import ACCURACY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.analysis.ends import Ends
    from indian_tune.analysis.levels import Levels
    from indian_tune.analysis.power import Power
    from indian_tune.outcome import Outcome
    from indian_tune.study.claims import ClaimsSection
    from indian_tune.study.file.space import Space
    from indian_tune.study.hypotheses import Hypothesis


@dataclass(frozen=True)
class Evidence:
    """The runs of a study and the rules by which they are judged.

    Attributes:
        claims: the hypotheses and levels.
        arms: the runs of every arm on the fresh seeds; all arms have the same searches and seeds.
        least: training accuracy of a run that has trained; ``None`` when not known.
        outcome: what runs are judged by; "accuracy" here is its score.
        search: rows of the tune phase; ``None`` without one.
        winners: of an arm, where its winners lie in their ranges: hyperparameter → place in [0, 1]
            on the scale of the search, a value per search. Natural ends are left out. Nothing is
            known of an arm that is not in it.
        levels: of the response-matched controls.
        spaces: what arms were searched over, as far as it is known.
        joins: whether other studies join, so that a contrast may come to either label.
        thorough: whether to add power, which decides nothing.
    """

    claims: ClaimsSection
    arms: Mapping[str, Ends]
    least: float | None = None
    outcome: Outcome = ACCURACY
    search: pd.DataFrame | None = None
    winners: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    levels: Mapping[str, Levels] = field(default_factory=dict)
    spaces: Mapping[str, Space] = field(default_factory=dict)
    joins: bool = False
    thorough: bool = True

    @property
    def alpha_high(self) -> float:
        """The level of an upper bound: any contrast of the claim may refute it."""
        return self.claims.alpha / sum(kind.contrasts for kind in self.claims.links())

    @property
    def plain(self) -> str | None:
        """The arm of tuned SGD that the claims name, if it has runs."""
        return next((name for name in self.claims.plain if name in self.arms), None)

    def absent(self, arms: Iterable[str | None]) -> tuple[str, ...]:
        """Return those of the arms that have no runs on the fresh seeds."""
        return tuple(dict.fromkeys(arm for arm in arms if arm is not None and arm not in self.arms))

    def runs_of(self, arms: Iterable[str | None]) -> tuple[str, ...]:
        """Return what to add of the arms, in words: the runs of those that have none."""
        return tuple(f"runs of arm {arm!r}" for arm in self.absent(arms))

    def bounds(self, values: NDArray[np.float64], extra: float = 0.0) -> Bounds:
        """Return the mean of units with the bounds of the claims."""
        return bounds(values, self.claims.alpha, self.alpha_high, extra)

    def contrast(
        self,
        arm: str,
        baseline: str,
        *,
        name: str | None = None,
        needs_gap: bool = False,
        contains: Sequence[str | None] = (),
    ) -> Contrast:
        """Compare two arms over the pairs of which both runs trained.

        Args:
            arm: the first arm.
            baseline: the second arm.
            name: of the contrast; "arm - baseline" by default.
            needs_gap: whether support needs G above 0 as well.
            contains: arms that the space of the arm contains.
        """
        first, second = self.arms[arm], self.arms[baseline]
        paired = first.there & second.there
        used = first.trained & second.trained
        units = unit_means(first.test - second.test, used)
        extra = example_spread(used, (first.examples, second.examples))
        if len(units) == 0:
            units = np.full(1, np.nan)
        made = self.bounds(units, extra)
        test = _amount(made)
        train = self._other(first.train - second.train, used)
        gap = self._other((first.test - first.train) - (second.test - second.train), used, extra)
        label = label_of(test.low, test.high, self.claims.delta)
        if needs_gap and label is Label.SUPPORTED and (gap is None or not gap.low > 0):
            label = Label.INCONCLUSIVE
        searches = int(paired.any(-1).sum())
        return Contrast(
            name=name or f"{arm} - {baseline}",
            arm=arm,
            baseline=baseline,
            test=test,
            train=train,
            gap=gap,
            validation=self._other(first.validation - second.validation, used),
            deviation=float(made.deviation),
            unit="searches" if len(paired) > 1 else "seeds",
            n=len(units),
            searches=searches,
            pairs=int(paired.sum()),
            left_out=int((paired & ~used).sum()),
            arm_failed=int((first.failed & paired).sum()),
            baseline_failed=int((second.failed & paired).sum()),
            empty=searches - int(used.any(-1).sum()),
            differences=tuple(units.tolist()),
            label=label,
            needs_gap=needs_gap,
            contains=tuple(rival for rival in contains if rival is not None and rival in self.arms),
            power=self._power(units, float(made.deviation)) if len(paired) > 1 else None,
        )

    def _power(self, units: NDArray[np.float64], deviation: float) -> Power | None:
        if not self.thorough or not deviation > 0:
            return None
        links = sum(kind.contrasts for kind in self.claims.links())
        return power(units.tolist(), self.claims.delta, self.claims.alpha, contrasts=links)

    def _other(
        self, values: NDArray[np.float64], used: NDArray[np.bool_], extra: float = 0.0
    ) -> Amount | None:
        units = unit_means(values, used)
        if len(units) == 0 or not np.isfinite(units).all():
            return None
        return _amount(self.bounds(units, extra))


def exploratory(
    hypothesis: Hypothesis, beside: Sequence[Contrast], sentence: str, **parts: object
) -> Finding:
    """Return the finding of a hypothesis that decides nothing: effects with bounds."""
    return Finding(
        hypothesis=hypothesis.name,
        question=hypothesis.question,
        label=Label.EXPLORATORY,
        sentence=sentence,
        beside=tuple(beside),
        **parts,  # type: ignore[arg-type]
    )


def not_tested(hypothesis: Hypothesis | type[Hypothesis], missing: Sequence[str]) -> Finding:
    """Return the finding of a hypothesis whose arms the study does not contain."""
    return Finding(
        hypothesis=hypothesis.name,
        question=hypothesis.question,
        label=Label.NOT_TESTED,
        sentence=f"To test it, add {'; '.join(missing)}.",
        missing=tuple(missing),
    )


def _amount(made: Bounds) -> Amount:
    return Amount(float(made.mean), float(made.low), float(made.high))


def example_spread(
    used: NDArray[np.bool_],
    tables: Sequence[NDArray[np.float32] | None],
    weights: Sequence[float] = (1.0, -1.0),
) -> float:
    """Return the variance that the examples add to a mean of units.

    Args:
        used: which runs count, [searches, seeds].
        tables: correctness of every example, [searches, seeds, examples], of each side.
        weights: with which the sides are summed; of a difference by default.

    Returns:
        0 with one unit, and where the examples of a run are not known.
    """
    known = [table for table in tables if table is not None]
    if len(known) < len(tables) or len({table.shape for table in known}) > 1:
        return 0.0
    # An observation is a search; of one search, a seed.
    runs = [(row, use) for row, use in enumerate(used) if use.any()]
    if len(used) == 1:
        runs = [(0, np.arange(used.shape[1]) == seed) for seed in np.flatnonzero(used[0])]
    if len(runs) < 2:
        return 0.0
    summed = np.zeros((len(runs), known[0].shape[-1]), dtype=np.float32)
    for weight, table in zip(weights, known, strict=True):
        summed += np.float32(weight) * np.stack([table[row][use].mean(0) for row, use in runs])
    return float(example_variance(summed)) if np.isfinite(summed).all() else 0.0
