"""H3b: what tuning (α, β, γ0) gains over tuning γ0 alone and over tuned SGD, on one budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.contrasts import conclude

if TYPE_CHECKING:
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding
    from indian_tune.study.hypotheses import TuningGain


def find(evidence: Evidence, claim: TuningGain) -> Finding:
    """Judge H3b by T2 minus T1 and T2 minus SGD, which T2 contains and T1 does not."""
    plain = evidence.plain
    rivals = [claim.rate, *([plain] if plain else [])]
    pairs = [
        (claim.full, claim.default),
        (claim.rate, claim.default),
        (claim.usual, claim.rate),
        (claim.full, claim.usual),
    ]
    return conclude(
        evidence,
        claim,
        f"tuning (α, β) with γ0 ({claim.full}) gains over tuning γ0 alone ({claim.rate}) and over "
        f"tuned SGD",
        [evidence.contrast(claim.full, rival, contains=rivals) for rival in rivals],
        missing=() if plain else ("a tuned arm of sgd, named in claims.h3b.baseline",),
        beside=tuple(
            evidence.contrast(a, b)
            for a, b in pairs
            if a is not None and b is not None and not evidence.absent([a, b])
        ),
    )
