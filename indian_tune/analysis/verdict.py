"""The verdict: all that an analysis found, as plain frozen records.

Accuracies, effects and bounds are shares in [0, 1] (0.005 is half a percentage point); of another
task they are in the unit of the metric that it is judged by, and an effect is above 0 where the
first arm is better. "Accuracy" is used for whatever that metric is. Bounds are
one-sided: a lower one at the level alpha of the claims, an upper one at alpha / k, where k is the
number of contrasts that the claim is made of. They are never one interval.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from indian_tune.outcome import ACCURACY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.analysis.label import Label
    from indian_tune.analysis.power import Power
    from indian_tune.outcome import Outcome


@dataclass(frozen=True)
class Amount:
    """One estimand with its one-sided bounds; the bounds are infinite where there is no spread."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Contrast:
    """One paired comparison of two arms.

    Attributes:
        name: what is compared, in words.
        arm: the first arm.
        baseline: the second arm.
        test: Δ, the difference in test accuracy at the last epoch.
        train: D, that in training accuracy; ``None`` where it is not known.
        gap: G = Δ - D; likewise.
        validation: the difference in validation accuracy; likewise.
        deviation: standard deviation of Δ between units; 0 with one unit.
        unit: what the bounds are over: searches, or the seeds of one search.
        n: number of units.
        searches: of either arm.
        pairs: of runs.
        left_out: pairs of which a run failed; they are in no mean.
        arm_failed: runs of the arm that failed.
        baseline_failed: runs of the baseline that failed.
        empty: searches in which no pair is left.
        differences: Δ of every unit.
        label: what the bounds of Δ, and of G where ``needs_gap``, say alone.
        needs_gap: whether G too must be above 0.
        contains: arms with runs that the space of the arm contains.
        power: what the searches can find; ``None`` without a spread between searches.
    """

    name: str
    arm: str
    baseline: str
    test: Amount
    train: Amount | None
    gap: Amount | None
    validation: Amount | None
    deviation: float
    unit: Literal["searches", "seeds"]
    n: int
    searches: int
    pairs: int
    left_out: int
    arm_failed: int
    baseline_failed: int
    empty: int
    differences: tuple[float, ...]
    label: Label
    needs_gap: bool = False
    contains: tuple[str, ...] = ()
    power: Power | None = None


@dataclass(frozen=True)
class Gate:
    """A check without which a contrast gives no verdict.

    Attributes:
        name: of the gate.
        contrast: name of the contrast that was asked about.
        passed: whether it is shown to hold.
        stops: the labels that it stops where it does not hold.
        figure: what was found, in words.
        advice: what to do where it does not hold.
        moved: of the gate "budget", Δ once the other side has gained as much again.
    """

    name: str
    contrast: str
    passed: bool
    stops: tuple[Label, ...]
    figure: str
    advice: str
    moved: Amount | None = None


@dataclass(frozen=True)
class Details:
    """What one hypothesis alone has to say: its fields are in the verdict as plain data."""

    def notes(self) -> Sequence[str]:
        """Return what to know about the estimate, a sentence each."""
        return ()

    def lines(self) -> Sequence[str]:
        """Return what a list of every contrast adds, a line each."""
        return ()

    def table(self) -> Sequence[Sequence[str]]:
        """Return what a report adds: the heading of the columns, then a row each."""
        return ()


@dataclass(frozen=True)
class Finding:
    """What was found on one hypothesis.

    Attributes:
        hypothesis: its name, such as H1.
        question: what it asks, in words.
        label: what is claimed.
        sentence: the result in plain words.
        contrasts: what the claim is made of; none of a hypothesis that is exploratory.
        beside: further contrasts, which decide nothing.
        gates: of the contrasts.
        missing: what a study would have to add for all of it to be tested.
        details: what this hypothesis alone has.
    """

    hypothesis: str
    question: str
    label: Label
    sentence: str
    contrasts: tuple[Contrast, ...] = ()
    beside: tuple[Contrast, ...] = ()
    gates: tuple[Gate, ...] = ()
    missing: tuple[str, ...] = ()
    details: Details | None = None


@dataclass(frozen=True)
class Scope:
    """What a verdict holds for; ``None`` and 0 where it is not known.

    Attributes:
        network: name of the network.
        dataset: name of the data set.
        classes: number of classes; a run that ends near their training error at chance level
            has failed.
        outcome: what runs are judged by, with its chance; ``None`` for accuracy.
        epochs: length of a run of the confirm phase.
        trials: trials of a search, with those that an extension added; the most of any arm.
        tune_epochs: length of a run of the search.
        extended: fewest and most trials that extensions added to a search of an arm; empty where
            the study was not extended.
        searches: of every arm; filled in from the frame.
        n: number of fresh seeds of a search; likewise.
    """

    network: str | None = None
    dataset: str | None = None
    classes: int | None = None
    epochs: int | None = None
    trials: int | None = None
    tune_epochs: int | None = None
    extended: tuple[int, ...] = ()
    searches: int = 0
    n: int = 0
    outcome: Outcome | None = None

    @property
    def judged(self) -> Outcome:
        """What runs are judged by."""
        return self.outcome or ACCURACY

    @property
    def trained_score(self) -> float | None:
        """The smallest training score of a run that has trained; ``None`` if it is not known."""
        return self.with_chance.trained_score

    @property
    def with_chance(self) -> Outcome:
        """What runs are judged by, with its chance where that is known."""
        if self.outcome is None and self.classes is not None:
            return replace(ACCURACY, chance=1 - 1 / self.classes)
        return self.judged


@dataclass(frozen=True)
class Registration:
    """What was fixed before the first trial, and what departs from it.

    Attributes:
        mode: protocol: "honest", or "paper", under which results are descriptive.
        seeds: the fresh seeds that were registered; the frame is held against them.
        trials: trials of the search that were registered, by arm.
        breaks: departures that the caller found, one sentence each; none when all is as registered.
        note: what to say of the registration, such as that it is self-declared.
    """

    mode: Literal["honest", "paper"]
    seeds: tuple[int, ...]
    trials: Mapping[str, int] = field(default_factory=dict)
    breaks: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Importance:
    """Descriptive: how much each hyperparameter mattered in the search of one arm.

    Attributes:
        arm: the arm.
        method: "PED-ANOVA" or "fANOVA".
        shares: hyperparameter and its share, largest first; they add up to 1.
        trials: number of complete trials behind it.
        objective: what their score is of, such as "validation_error".
    """

    arm: str
    method: Literal["PED-ANOVA", "fANOVA"]
    shares: tuple[tuple[str, float], ...]
    trials: int
    objective: str


@dataclass(frozen=True)
class BudgetCurve:
    """Descriptive: the accuracy of the trial that is best among the first of its search.

    Attributes:
        arm: the arm.
        metric: "test_accuracy" or "validation_accuracy".
        searches: number of searches of the arm.
        trials: budgets, ascending.
        mean: over searches, a value per budget.
        low: lower end of the 95 % t interval of the mean; infinite where all searches are equal.
        high: upper end.
    """

    arm: str
    metric: str
    searches: int
    trials: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Trained:
    """How the runs of an arm on the fresh seeds ended.

    Attributes:
        arm: the arm.
        runs: number of runs.
        failed: those that diverged or did not train, as "seed" or "search/seed".
        test: mean of the test accuracy at the last epoch over the others, of another task of its
            metric; of several searches, the mean of their means. ``None`` where none trained.
        deviation: standard deviation between seeds, or between searches where there are several;
            ``None`` for fewer than two.
    """

    arm: str
    runs: int
    failed: tuple[str, ...]
    test: float | None = None
    deviation: float | None = None


@dataclass(frozen=True)
class Verdict:
    """All that an analysis found.

    Attributes:
        study: name of the study.
        label: of the claim that tuning (α, β) regularizes.
        strongly: whether every lower bound is above δ.
        hangs_on: the contrast or gate that the claim hangs on; ``None`` when supported.
        sentence: the verdict in plain words, what it depends on first, with its scope.
        scope: what it holds for.
        registration: what was registered; ``None`` when nothing was.
        exploratory: why the verdict is EXPLORATORY; empty when it is not.
        delta: smallest effect of interest.
        alpha: one-sided level of lower bounds.
        contrasts: number of contrasts that the claim is made of; upper bounds have the level
            alpha / contrasts.
        findings: one per hypothesis, in their order.
        trained: a row per arm, best first.
        importances: descriptive.
        budget_curves: likewise, of arms that were searched more than once.
        claimed: whether the study makes the claim; without it, reports show arms and differences.
        doubt: why runs may count as failed that did train, see :meth:`Outcome.doubt`.
    """

    study: str
    label: Label
    strongly: bool
    hangs_on: str | None
    sentence: str
    scope: Scope
    registration: Registration | None
    exploratory: tuple[str, ...]
    delta: float
    alpha: float
    contrasts: int
    findings: tuple[Finding, ...]
    trained: tuple[Trained, ...] = ()
    importances: tuple[Importance, ...] = ()
    budget_curves: tuple[BudgetCurve, ...] = ()
    claimed: bool = True
    doubt: str = ""

    @property
    def unit(self) -> Literal["searches", "seeds"]:
        """What means and bounds are over: searches, or the seeds of one search."""
        return "searches" if self.scope.searches > 1 else "seeds"

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Every gate of every contrast."""
        return tuple(gate for found in self.findings for gate in found.gates)

    def finding(self, hypothesis: str) -> Finding:
        """Return what was found on a hypothesis."""
        return next(found for found in self.findings if found.hypothesis == hypothesis)

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data; infinite bounds stay infinite."""
        found = dataclasses.asdict(self, dict_factory=_without_usual)
        outcome = self.scope.outcome
        if outcome is not None and outcome.chance is not None:
            # As the metric, and not as an error that is to be small.
            found["scope"]["outcome"]["chance"] = outcome.value(outcome.chance)
        return found


def _without_usual(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return fields as a table, without those of a scope that are as usual.

    Of classification nothing is said of what it is judged by, and nothing of no extension or doubt.
    """
    usual = {"outcome", "extended", "doubt"}
    return {name: value for name, value in fields if value or name not in usual}
