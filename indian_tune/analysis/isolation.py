"""H2: INDIAN against SGD with the same response to a steady gradient, its level tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.contrasts import conclude
from indian_tune.analysis.evidence import not_tested
from indian_tune.analysis.gates import not_isolated
from indian_tune.study.hypotheses.matched_loss import ADD_C1

if TYPE_CHECKING:
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding
    from indian_tune.study.hypotheses import MatchedLoss


def find(evidence: Evidence, claim: MatchedLoss) -> Finding:
    """Judge H2 by T2 minus C1, in test accuracy and in that minus training accuracy."""
    gain = evidence.claims.h3b
    rate = gain.rate if gain is not None and gain.full == claim.arm else None
    contains = [rate, claim.baseline]
    others = [claim.baseline, *claim.momentum]
    if claim.matched_rate is None:
        return not_tested(claim, [ADD_C1])
    if evidence.absent([claim.matched_rate]):
        if claim.matched_rate not in evidence.levels:
            return not_tested(claim, [ADD_C1])
        return not_isolated(claim, claim.matched_rate)
    return conclude(
        evidence,
        claim,
        f"the memory that (α, β) set ({claim.arm}), not the level of its rate, improves test "
        "accuracy, and not only by a better fit of the training data",
        [evidence.contrast(claim.arm, claim.matched_rate, needs_gap=True, contains=contains)],
        beside=tuple(evidence.contrast(claim.arm, b) for b in others if b in evidence.arms),
    )
