"""The verdict: all that an analysis found, as plain frozen records.

Accuracies, effects and bounds are shares in [0, 1] (0.005 is half a percentage point). A lower or
upper bound is one-sided at the level ``1 - alpha`` of the claims, so that the two together are a
``1 - 2 alpha`` interval. Seeds are always in ascending order.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.analysis.label import Label


@dataclass(frozen=True)
class Contrast:
    """One paired comparison of two arms over the seeds.

    Attributes:
        name: what is compared, in words.
        arm: the first arm; for an interaction the first of its arms.
        baseline: the second arm.
        outcome: what was compared: "final", "matched loss", "best validation epoch", "last epochs",
            or "interaction".
        estimate: mean over seeds of ``arm`` minus ``baseline``.
        low: lower bound; minus infinity with one seed.
        high: upper bound; infinity with one seed.
        p: one-sided p-value of "not above 0" (paired t); 1 with one seed.
        p_sign_flip: the same by permuting signs; ``None`` where it was not asked for.
        p_adjusted: ``p`` by Holm's method over the contrasts of its hypothesis, where which of
            several holds is asked.
        deviation: standard deviation of the paired differences; ``None`` with one seed.
        n: number of seeds.
        seeds: the seeds.
        differences: the paired differences in their order.
        label: what the bounds say, taken alone.
    """

    name: str
    arm: str
    baseline: str
    outcome: str
    estimate: float
    low: float
    high: float
    p: float
    p_sign_flip: float | None
    p_adjusted: float | None
    deviation: float | None
    n: int
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    label: Label


@dataclass(frozen=True)
class Check:
    """An assay check: whether the study could have seen an effect at all.

    Attributes:
        name: what is checked.
        passed: whether it holds.
        sentence: what was found, in words.
    """

    name: str
    passed: bool
    sentence: str


@dataclass(frozen=True)
class ImageInterval:
    """A contrast with its spread over seeds **and** test images (two-way bootstrap).

    Attributes:
        name: of the contrast.
        estimate: mean difference in accuracy.
        low: lower bound, by percentiles.
        high: upper bound.
        images: number of images.
        n: number of seeds.
    """

    name: str
    estimate: float
    low: float
    high: float
    images: int
    n: int


@dataclass(frozen=True)
class Details:
    """What one hypothesis alone has to say: its fields are in the verdict as plain data.

    Attributes:
        secondary_beside: whether the secondary contrasts are few enough to be listed beside the
            finding.
    """

    secondary_beside: ClassVar[bool] = True

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
        reading: what the bounds alone would say; differs from ``label`` where that is EXPLORATORY.
            ``None`` for what was not tested, and under the paper's protocol.
        strongly: whether SUPPORTED holds with the lower bound above the smallest effect of
            interest.
        sentence: the result in plain words.
        estimate: the effect that the label is about: of several contrasts that must all hold, the
            smallest.
        low: its lower bound.
        high: its upper bound.
        p: its p-value.
        n: number of seeds.
        primary: the contrasts that the label rests on.
        secondary: further contrasts, which decide nothing.
        sensitivity: the primary contrasts under other choices.
        images: the primary contrasts as a statement on the population of images.
        checks: assay checks of this hypothesis.
        provisional: why the label is provisional, such as a winner on the edge of its range.
        missing: what a study would have to add for this to be tested, or to be supported.
        seeds_needed: seeds for an effect of ``delta`` at power 0.8, where inconclusive.
        detectable: the smallest effect that the present seeds find at power 0.8.
        details: what this hypothesis alone has.
    """

    hypothesis: str
    question: str
    label: Label
    reading: Label | None
    strongly: bool
    sentence: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None
    primary: tuple[Contrast, ...] = ()
    secondary: tuple[Contrast, ...] = ()
    sensitivity: tuple[Contrast, ...] = ()
    images: tuple[ImageInterval, ...] = ()
    checks: tuple[Check, ...] = ()
    provisional: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    seeds_needed: int | None = None
    detectable: float | None = None
    details: Details | None = None


@dataclass(frozen=True)
class Scope:
    """What a verdict holds for; ``None`` and 0 where it is not known.

    Attributes:
        network: name of the network.
        dataset: name of the data set.
        classes: number of classes; a run that diverged scores ``1 / classes``.
        epochs: length of a run of the confirm phase.
        trials: trials of the search per arm.
        tune_epochs: length of a run of the search.
        n: number of fresh seeds; filled in from the frame.
    """

    network: str | None = None
    dataset: str | None = None
    classes: int | None = None
    epochs: int | None = None
    trials: int | None = None
    tune_epochs: int | None = None
    n: int = 0


@dataclass(frozen=True)
class Registration:
    """What was fixed before the first trial, and what departs from it.

    Attributes:
        mode: protocol: "honest", or "paper", under which results are descriptive.
        seeds: the fresh seeds that were registered; the frame is held against them.
        trials: trials of the search that were registered, by arm.
        breaks: departures that the caller found, one sentence each; none when all is as registered.
    """

    mode: Literal["honest", "paper"]
    seeds: tuple[int, ...]
    trials: Mapping[str, int] = field(default_factory=dict)
    breaks: tuple[str, ...] = ()


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
class Verdict:
    """All that an analysis found.

    Attributes:
        study: name of the study.
        label: of the claim that tuning (α, β) regularizes.
        broken: the hypothesis that the claim fails on; ``None`` when supported.
        sentence: the verdict in plain words, with its scope.
        scope: what it holds for.
        registration: what was registered; ``None`` when nothing was.
        exploratory: why the verdict is EXPLORATORY; empty when it is not.
        delta: smallest effect of interest.
        alpha: one-sided level of every test.
        findings: one per hypothesis, in their order.
        checks: assay checks of the study as a whole.
        diverged: runs that diverged, as "arm seed"; they count with the score of chance.
        importances: descriptive.
    """

    study: str
    label: Label
    broken: str | None
    sentence: str
    scope: Scope
    registration: Registration | None
    exploratory: tuple[str, ...]
    delta: float
    alpha: float
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...] = ()
    diverged: tuple[str, ...] = ()
    importances: tuple[Importance, ...] = ()

    def finding(self, hypothesis: str) -> Finding:
        """Return what was found on a hypothesis."""
        return next(found for found in self.findings if found.hypothesis == hypothesis)

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data; infinite bounds stay infinite."""
        return dataclasses.asdict(self)
