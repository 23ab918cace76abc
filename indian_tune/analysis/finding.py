"""From contrasts to a finding: label, power, and one sentence in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.analysis.bootstrap import image_interval
from indian_tune.analysis.label import Label, label_of
from indian_tune.analysis.multiplicity import all_of
from indian_tune.analysis.power import power
from indian_tune.analysis.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Contrast, ImageInterval
    from indian_tune.study.hypotheses import Hypothesis


def points(share: float) -> str:
    """Return a difference in accuracy in percentage points."""
    return f"{100 * share:+.2f}"


def not_tested(hypothesis: Hypothesis | type[Hypothesis], missing: Sequence[str]) -> Finding:
    """Return the finding of a hypothesis whose arms the study does not contain."""
    return Finding(
        hypothesis=hypothesis.name,
        question=hypothesis.question,
        label=Label.NOT_TESTED,
        reading=None,
        strongly=False,
        sentence=f"Not tested. To test it, add {'; '.join(missing)}.",
        missing=tuple(missing),
    )


def conclude(
    evidence: Evidence,
    hypothesis: Hypothesis,
    claim: str,
    primary: Sequence[Contrast],
    **parts: Any,
) -> Finding:
    """Return the finding of a claim that all of its primary contrasts are above 0.

    Args:
        evidence: what it was judged on.
        hypothesis: its section of the claims.
        claim: what holds if it is supported, as a clause.
        primary: the contrasts, at least one.
        parts: further fields of the finding; ``sentence`` replaces the usual one.
    """
    alpha, delta = evidence.claims.alpha, evidence.claims.delta
    least = all_of(primary, alpha)
    label = label_of(least.low, least.high, delta)
    seeds_needed, detectable = None, None
    if evidence.thorough and len(evidence.seeds) > 1:
        seeds_needed, detectable = _power(primary, delta, alpha)
    strongly = label is Label.SUPPORTED and least.low > delta
    parts.setdefault("sentence", _sentence(label, strongly, claim, primary, seeds_needed, delta))
    return Finding(
        hypothesis=hypothesis.name,
        question=hypothesis.question,
        label=label,
        reading=label,
        strongly=strongly,
        estimate=least.estimate,
        low=least.low,
        high=least.high,
        p=least.p,
        n=len(evidence.seeds),
        primary=tuple(primary),
        images=_images(evidence, primary),
        provisional=tuple(
            edge
            for arm in dict.fromkeys(arm for made in primary for arm in (made.arm, made.baseline))
            for edge in evidence.edges.get(arm, ())
        ),
        seeds_needed=seeds_needed if label is Label.INCONCLUSIVE else None,
        detectable=detectable,
        **parts,
    )


def unsettled(delta: float, seeds_needed: int | None, n: int) -> str:
    """Return the end of a sentence on an inconclusive result: the seeds that it would take."""
    if seeds_needed is None:
        return "one seed shows no spread, so run at least two"
    if seeds_needed > n:
        return f"about {seeds_needed} seeds find an effect of {100 * delta:g} points"
    return (
        f"{n} seeds were enough for an effect of {100 * delta:g} points, and showed none so clear"
    )


def _sentence(
    label: Label,
    strongly: bool,
    claim: str,
    primary: Sequence[Contrast],
    seeds_needed: int | None,
    delta: float,
) -> str:
    least = min(primary, key=lambda made: made.estimate)
    name = f"the smallest difference, {least.name}," if len(primary) > 1 else least.name
    amount = f"{name} is {points(least.estimate)} points"
    opened = claim[0].upper() + claim[1:]
    match label:
        case Label.SUPPORTED if strongly:
            return f"{opened}, by more than {100 * delta:g} points: {amount}."
        case Label.SUPPORTED:
            return f"{opened}: {amount}."
        case Label.NEGLIGIBLE:
            return f"{opened}, but by less than {100 * delta:g} points: {amount}."
        case Label.REFUTED:
            return f"{opened} by less than {100 * delta:g} points, if at all: {amount}."
        case _:
            tail = unsettled(delta, seeds_needed, least.n)
            return f"Open whether {claim}: {amount}; {tail}."


def _power(
    primary: Sequence[Contrast], delta: float, alpha: float
) -> tuple[int | None, float | None]:
    """Return the seeds needed and the detectable effect of the noisiest contrast."""
    noisiest = max(primary, key=lambda made: made.deviation or 0.0)
    made = power(noisiest.differences, delta, alpha)
    return made.seeds_needed, made.detectable


def _images(evidence: Evidence, primary: Sequence[Contrast]) -> tuple[ImageInterval, ...]:
    return tuple(
        image_interval(
            made.name,
            evidence.examples[made.arm] - evidence.examples[made.baseline],
            evidence.claims.alpha,
        )
        for made in primary
        if made.outcome == "final"
        and made.n > 1
        and made.arm in evidence.examples
        and made.baseline in evidence.examples
    )
