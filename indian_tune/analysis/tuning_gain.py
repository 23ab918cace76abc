"""H3b: what tuning (α, β, γ0) gains over tuning γ0 alone, on one budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.finding import conclude, not_tested

if TYPE_CHECKING:
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding

QUESTION = "Does tuning (α, β) gain over tuning γ0 alone?"


def find_tuning_gain(evidence: Evidence) -> Finding:
    """Judge H3b by T2 minus T1; the untuned T0 is no honest rival and stands beside."""
    claim = evidence.claims.h3b
    if claim is None:
        return not_tested(
            "H3b",
            QUESTION,
            [
                "an arm that tunes γ0 at the default (α, β) and one that tunes (α, β, γ0), named "
                "in claims.h3b.rate and .full"
            ],
        )
    absent = evidence.absent([claim.rate, claim.full])
    if absent:
        return not_tested("H3b", QUESTION, [f"runs of arm {arm!r}" for arm in absent])
    primary = [evidence.contrast(claim.full, claim.rate)]
    pairs = [
        (claim.full, claim.default),
        (claim.rate, claim.default),
        (claim.usual, claim.rate),
        (claim.full, claim.usual),
    ]
    return conclude(
        evidence,
        "H3b",
        QUESTION,
        f"tuning (α, β) with γ0 ({claim.full}) gains over tuning γ0 alone ({claim.rate})",
        primary,
        secondary=tuple(
            evidence.contrast(a, b)
            for a, b in pairs
            if a is not None and b is not None and not evidence.absent([a, b])
        ),
        sensitivity=evidence.sensitivity(primary),
        missing=tuple(
            f"runs of arm {arm!r}" for arm in evidence.absent([claim.default, claim.usual])
        ),
    )
