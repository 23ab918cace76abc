"""H3b: what tuning (α, β, γ0) gains over tuning γ0 alone, on one budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.finding import conclude

if TYPE_CHECKING:
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding
    from indian_tune.study.hypotheses import TuningGain


def find(evidence: Evidence, claim: TuningGain) -> Finding:
    """Judge H3b by T2 minus T1; the untuned T0 is no honest rival and stands beside."""
    primary = [evidence.contrast(claim.full, claim.rate)]
    pairs = [
        (claim.full, claim.default),
        (claim.rate, claim.default),
        (claim.usual, claim.rate),
        (claim.full, claim.usual),
    ]
    return conclude(
        evidence,
        claim,
        f"tuning (α, β) with γ0 ({claim.full}) gains over tuning γ0 alone ({claim.rate})",
        primary,
        secondary=tuple(
            evidence.contrast(a, b)
            for a, b in pairs
            if a is not None and b is not None and not evidence.absent([a, b])
        ),
        sensitivity=evidence.sensitivity(primary),
        missing=evidence.runs_of([claim.default, claim.usual]),
    )
