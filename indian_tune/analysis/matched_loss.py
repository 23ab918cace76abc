"""H2: better accuracy at equal training loss.

The effect of "train until the loss is τ", averaged over a registered grid of τ. Control C1, SGD at
the arm's effective learning rate, is needed for support: without it a gain may be the learning
rate's. Controls C2, momentum methods tuned on the same budget, stand beside.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.contrasts import paired_t
from indian_tune.analysis.finding import conclude
from indian_tune.analysis.label import Label
from indian_tune.analysis.verdict import Details, Finding
from indian_tune.study.hypotheses.matched_loss import ADD_C1

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Contrast
    from indian_tune.study.hypotheses import MatchedLoss


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
class MatchedLossDetails(Details):
    """The training losses at which H2 compares."""

    thresholds: tuple[Threshold, ...]

    def notes(self) -> Sequence[str]:
        """Name the training losses that were dropped."""
        dropped = [f"{threshold.tau:.3g}" for threshold in self.thresholds if not threshold.kept]
        if not dropped:
            return ()
        return (
            f"Dropped for all arms, since some run does not cross it: τ = {', '.join(dropped)}.",
        )


def find(evidence: Evidence, claim: MatchedLoss) -> Finding:
    """Judge H2: the smaller of the gains over the baseline and over C1."""
    baselines = [claim.baseline]
    if claim.matched_rate is not None and claim.matched_rate in evidence.curves:
        baselines.append(claim.matched_rate)
    matched = {arm: evidence.matched(arm) for arm in (claim.arm, *baselines)}
    thresholds = _thresholds(evidence, claim.arm, claim.baseline, matched)
    kept = np.array([threshold.kept for threshold in thresholds])
    if not kept.any() or (evidence.claims.support == "all" and not kept.all()):
        return _without_support(evidence, claim, thresholds)
    primary = [_contrast(evidence, matched, claim.arm, other, kept) for other in baselines]
    words = f"at equal training loss {claim.arm} generalizes better than {' and '.join(baselines)}"
    found = conclude(
        evidence,
        claim,
        words,
        primary,
        details=MatchedLossDetails(thresholds),
        secondary=tuple(_momentum(evidence, claim.arm, claim.momentum, matched, kept)),
        sensitivity=tuple(_unsmoothed(evidence, claim.arm, baselines, kept)),
        missing=evidence.runs_of(claim.momentum),
    )
    if len(baselines) == 1:
        return _uncontrolled(found)
    if primary[0].label is Label.SUPPORTED and found.label is not Label.SUPPORTED:
        control = primary[1]
        least = "equals" if control.label is Label.REFUTED else "may equal"
        return dataclasses.replace(
            found,
            sentence=f"The gain over {claim.baseline} exists but {least} its effective learning "
            f"rate: {control.name} is {100 * control.estimate:+.2f} points at equal training loss"
            + (f"; about {found.seeds_needed} seeds would tell." if found.seeds_needed else "."),
        )
    return found


def _uncontrolled(found: Finding) -> Finding:
    """Take support away that C1 did not give."""
    found = dataclasses.replace(found, missing=(*found.missing, ADD_C1))
    if found.label is not Label.SUPPORTED:
        return found
    return dataclasses.replace(
        found,
        label=Label.INCONCLUSIVE,
        reading=Label.INCONCLUSIVE,
        strongly=False,
        sentence=f"{found.sentence[:-1]}, but that may be its effective learning rate: add "
        f"{ADD_C1}.",
    )


def _without_support(
    evidence: Evidence, claim: MatchedLoss, thresholds: tuple[Threshold, ...]
) -> Finding:
    lost = [threshold for threshold in thresholds if not threshold.kept]
    runs = list(dict.fromkeys(run for threshold in lost for run in threshold.unreached))
    some = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    of = "any" if len(lost) == len(thresholds) else f"{len(lost)} of the {len(thresholds)}"
    return Finding(
        hypothesis=claim.name,
        question=claim.question,
        label=Label.INCONCLUSIVE,
        reading=Label.INCONCLUSIVE,
        strongly=False,
        sentence=f"No common support: not every run crosses {of} registered training losses "
        f"({some}). Train longer, or register losses that all arms reach.",
        n=len(evidence.seeds),
        details=MatchedLossDetails(thresholds),
        missing=("training losses that every run crosses",),
    )


def _thresholds(
    evidence: Evidence, arm: str, baseline: str, matched: Mapping[str, NDArray[np.float64]]
) -> tuple[Threshold, ...]:
    made = []
    for k, tau in enumerate(evidence.claims.taus):
        unreached = tuple(
            f"{name} {seed}"
            for name, values in matched.items()
            for seed, value in zip(evidence.seeds, values[:, k], strict=True)
            if np.isnan(value)
        )
        if unreached:
            made.append(Threshold(tau, False, unreached))
            continue
        differences = matched[arm][:, k] - matched[baseline][:, k]
        low, high = -np.inf, np.inf
        if len(evidence.seeds) > 1:
            test = paired_t(differences, evidence.claims.alpha)
            low, high = float(test.low), float(test.high)
        made.append(Threshold(tau, True, (), float(differences.mean()), low, high))
    return tuple(made)


def _contrast(
    evidence: Evidence,
    matched: Mapping[str, NDArray[np.float64]],
    arm: str,
    baseline: str,
    kept: NDArray[np.bool_],
) -> Contrast:
    differences = (matched[arm] - matched[baseline])[:, kept].mean(1)
    return evidence.compare(differences, arm, baseline, "matched loss")


def _momentum(
    evidence: Evidence,
    arm: str,
    rivals: Sequence[str],
    matched: Mapping[str, NDArray[np.float64]],
    kept: NDArray[np.bool_],
) -> list[Contrast]:
    """Return C2, each at those of the kept training losses that all its runs cross."""
    made = []
    for rival in rivals:
        if rival not in evidence.curves:
            continue
        own = evidence.matched(rival)
        both = kept & np.isfinite(own).all(0)
        if both.any():
            made.append(_contrast(evidence, {**matched, rival: own}, arm, rival, both))
    return made


def _unsmoothed(
    evidence: Evidence, arm: str, baselines: Sequence[str], kept: NDArray[np.bool_]
) -> list[Contrast]:
    """Return the contrasts at the first recorded epoch at or below τ."""
    if not evidence.thorough:
        return []
    first = {name: evidence.first_crossed(name)[:, kept].mean(1) for name in (arm, *baselines)}
    return [
        evidence.compare(first[arm] - first[other], arm, other, "matched loss, unsmoothed")
        for other in baselines
    ]
