"""H1: every INDIAN arm beats every baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.finding import conclude
from indian_tune.analysis.multiplicity import holm

if TYPE_CHECKING:
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding
    from indian_tune.study.hypotheses import Replication


def find(evidence: Evidence, claim: Replication) -> Finding:
    """Judge H1 by intersection-union; single contrasts carry p-values adjusted by Holm's method."""
    primary = tuple(evidence.contrast(*pair) for pair in claim.pairs())
    if evidence.thorough:
        primary = holm(primary)
    beside = [b for b in claim.beside if b in evidence.curves]
    arms, baselines = " and ".join(claim.arms), " and ".join(claim.baselines)
    return conclude(
        evidence,
        claim,
        f"arm {arms} beats {baselines}"
        if len(claim.arms) == 1
        else f"arms {arms} beat {baselines}",
        primary,
        secondary=tuple(evidence.contrast(a, b) for a in claim.arms for b in beside),
        sensitivity=evidence.sensitivity(primary),
        missing=evidence.runs_of(claim.beside),
    )
