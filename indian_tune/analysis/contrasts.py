"""Findings of hypotheses from their contrasts: gates, label, one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from indian_tune.analysis.gates import gates_of
from indian_tune.analysis.label import Label
from indian_tune.analysis.verdict import Finding
from indian_tune.outcome import ACCURACY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Contrast, Gate
    from indian_tune.outcome import Outcome
    from indian_tune.study.hypotheses import Hypothesis


def conclude(
    evidence: Evidence,
    hypothesis: Hypothesis,
    claim: str,
    contrasts: Sequence[Contrast],
    *,
    missing: Sequence[str] = (),
    **parts: Any,
) -> Finding:
    """Return the finding of a claim that all of its contrasts are above 0.

    Args:
        evidence: what it was judged on.
        hypothesis: its section of the claims.
        claim: what holds if it is supported, as a clause.
        contrasts: those that have runs.
        missing: what to add for the others.
        parts: further fields of the finding.
    """
    gates = tuple(gate for made in contrasts for gate in gates_of(evidence, made))
    label, strongly = overall(contrasts, gates, evidence.claims.delta, whole=not missing)
    outcome = evidence.outcome
    said = [told(made, evidence.claims.delta, outcome) for made in contrasts]
    # Hypotheses speak of accuracy, whatever it is that runs are judged by.
    claim = claim.replace(ACCURACY.title, outcome.title)
    opened = claim[0].upper() + claim[1:]
    if label is Label.SUPPORTED:
        opened += f", by more than {outcome.amount(evidence.claims.delta)}" if strongly else ""
    elif label is Label.REFUTED:
        against = [made.name for made in contrasts if refutes(made, gates, evidence.claims.delta)]
        opened = (
            f"A gain of {outcome.amount(evidence.claims.delta)} or more is ruled out for "
            f"{' and for '.join(against)}"
        )
    else:
        opened = f"It is open whether {claim}"
    if missing:
        said.append(f"To test all of it, add {'; '.join(missing)}")
    return Finding(
        hypothesis=hypothesis.name,
        question=hypothesis.question,
        label=label,
        sentence=f"{opened}. {'. '.join(said)}.",
        contrasts=tuple(contrasts),
        gates=gates,
        missing=tuple(missing),
        **parts,
    )


def overall(
    contrasts: Sequence[Contrast], gates: Sequence[Gate], delta: float, *, whole: bool = True
) -> tuple[Label, bool]:
    """Return the label of several contrasts that must all hold, and whether they do strongly.

    One contrast refutes; support is an intersection-union test, without a correction.

    Args:
        contrasts: all of them that were tested.
        gates: of these.
        delta: smallest effect of interest.
        whole: whether every contrast was tested.
    """
    if any(refutes(made, gates, delta) for made in contrasts):
        return Label.REFUTED, False
    if not contrasts or not whole or not all(supports(made, gates) for made in contrasts):
        return Label.INCONCLUSIVE, False
    return Label.SUPPORTED, all(made.test.low > delta for made in contrasts)


def refutes(made: Contrast, gates: Sequence[Gate], delta: float) -> bool:
    """Return whether a contrast shows that there is no gain of δ."""
    return made.test.high < delta and not stopped(made, gates, Label.REFUTED)


def supports(made: Contrast, gates: Sequence[Gate]) -> bool:
    """Return whether a contrast is shown to be above 0, whatever its size."""
    return gains(made) and not stopped(made, gates, Label.SUPPORTED)


def gains(made: Contrast) -> bool:
    """Return whether the bounds of a contrast are above 0, whatever its gates say."""
    gap = made.gap is not None and made.gap.low > 0
    return made.test.low > 0 and (gap or not made.needs_gap)


def stopped(made: Contrast, gates: Sequence[Gate], label: Label) -> list[Gate]:
    """Return the gates of a contrast that stop a label."""
    return [
        gate
        for gate in gates
        if gate.contrast == made.name and not gate.passed and label in gate.stops
    ]


def told(made: Contrast, delta: float, outcome: Outcome = ACCURACY) -> str:
    """Return a contrast in words, without a full stop; harm is called harm."""
    test, signed = made.test, outcome.signed
    if math.isnan(test.estimate):
        return f"{made.name}: there is no pair in which both runs trained"
    if test.high < 0:
        worse = f"{outcome.size(-test.estimate)} {outcome.unit}"
        size = f"{made.arm} is worse than {made.baseline} by {worse}"
    else:
        of = f"{outcome.unit} of test {outcome.title}" if outcome.share else outcome.gained
        size = f"{made.name} is {signed(test.estimate)} {of}"
    if math.isinf(test.low):
        why = f"n = 1 ({made.unit})" if made.n == 1 else f"all {made.unit} give the same difference"
        return f"{size}; no bounds, because {why}"
    size += f" (at least {signed(test.low)}, at most {signed(test.high)})"
    if made.needs_gap:
        size += (
            f"; the training {outcome.title} is not known"
            if not outcome.share and made.gap is None
            else "; the training accuracies are not known"
            if made.gap is None
            else f"; the gain in test minus that in training {outcome.title} is "
            f"{signed(made.gap.estimate)} (at least {signed(made.gap.low)})"
        )
    if made.label is Label.NEGLIGIBLE:
        size += f": a gain, but of less than {outcome.amount(delta)}"
    return size
