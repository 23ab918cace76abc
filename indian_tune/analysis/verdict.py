"""The verdict: all that an analysis found, as plain frozen records.

Accuracies, effects and bounds are shares in [0, 1] (0.005 is half a percentage point). A lower or
upper bound is one-sided at the level ``1 - alpha`` of the claims, so that the two together are a
``1 - 2 alpha`` interval. Seeds are always in ascending order.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.analysis.label import Label

Hypothesis = Literal["H1", "H2", "H3a", "H3b", "H4"]


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
class Equivalence:
    """Two one-sided tests (TOST) that an effect lies within ±``margin``.

    Attributes:
        name: of the effect.
        scale: "accuracy" (shares) or "logit".
        estimate: mean over seeds on that scale.
        low: lower bound.
        high: upper bound.
        margin: half-width of the region of equivalence, on that scale.
        p: larger of the two p-values.
        equivalent: whether ``p`` is below the level.
        n: number of seeds.
    """

    name: str
    scale: Literal["accuracy", "logit"]
    estimate: float
    low: float
    high: float
    margin: float
    p: float
    equivalent: bool
    n: int


@dataclass(frozen=True)
class Threshold:
    """One training loss τ of H2.

    Attributes:
        tau: the training loss.
        kept: whether every run of the compared arms crosses it, so that it enters the estimate.
        unreached: runs that do not, as "arm seed".
        estimate: mean paired difference at this τ against the baseline; ``None`` unless kept.
        low: its lower bound.
        high: its upper bound.
    """

    tau: float
    kept: bool
    unreached: tuple[str, ...]
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Coefficient:
    """One coefficient of the surface of H3a, averaged over per-seed regressions.

    Attributes:
        term: "log alpha", "log beta", "log alpha^2", "log beta^2" or "log alpha log beta", with
            logarithms centred over the grid.
        estimate: change in accuracy per unit of the term.
        low: lower bound.
        high: upper bound.
        p: two-sided p-value of a one-sample t over seeds.
    """

    term: str
    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class SurfaceFit:
    """The accuracy of one arm over a designed grid of (α, β) at fixed effective learning rates.

    Attributes:
        outcome: "final" or "matched loss".
        metric: column that was fitted, such as "test_accuracy".
        cells: (alpha, beta, eta) of every cell of the grid.
        means: mean accuracy of every cell over seeds.
        coefficients: of the regression.
        largest: largest deviation of the fitted surface from its mean at the same η.
        low: lower bound of it, simultaneous over cells.
        high: upper bound of it.
        p: joint p-value of all coefficients, cells permuted within seeds.
        p_friedman: of Friedman's rank test; ``None`` with fewer than three cells.
        n: number of seeds.
    """

    outcome: str
    metric: str
    cells: tuple[tuple[float, float, float], ...]
    means: tuple[float, ...]
    coefficients: tuple[Coefficient, ...]
    largest: float
    low: float
    high: float
    p: float
    p_friedman: float | None
    n: int


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
class Finding:
    """What was found on one hypothesis.

    Attributes:
        hypothesis: H1, H2, H3a, H3b or H4.
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
        equivalences: interactions tested for equivalence to none (H4).
        thresholds: the training losses at which H2 compares.
        surfaces: fits of H3a.
        images: the primary contrasts as a statement on the population of images.
        checks: assay checks of this hypothesis.
        provisional: why the label is provisional, such as a winner on the edge of its range.
        missing: what a study would have to add for this to be tested, or to be supported.
        seeds_needed: seeds for an effect of ``delta`` at power 0.8, where inconclusive.
        detectable: the smallest effect that the present seeds find at power 0.8.
    """

    hypothesis: Hypothesis
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
    equivalences: tuple[Equivalence, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    surfaces: tuple[SurfaceFit, ...] = ()
    images: tuple[ImageInterval, ...] = ()
    checks: tuple[Check, ...] = ()
    provisional: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    seeds_needed: int | None = None
    detectable: float | None = None


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
        findings: one per hypothesis, H1 to H4.
        checks: assay checks of the study as a whole.
        diverged: runs that diverged, as "arm seed"; they count with the score of chance.
        importances: descriptive.
    """

    study: str
    label: Label
    broken: Hypothesis | None
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

    def finding(self, hypothesis: Hypothesis) -> Finding:
        """Return what was found on a hypothesis."""
        return next(found for found in self.findings if found.hypothesis == hypothesis)

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data; infinite bounds stay infinite."""
        return dataclasses.asdict(self)
