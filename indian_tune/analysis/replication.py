"""H1: every INDIAN arm beats every baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.finding import conclude, not_tested
from indian_tune.analysis.multiplicity import holm

if TYPE_CHECKING:
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding

QUESTION = "Does every INDIAN arm beat every baseline?"


def find_replication(evidence: Evidence) -> Finding:
    """Judge H1 by intersection-union; single contrasts carry p-values adjusted by Holm's method."""
    claim = evidence.claims.h1
    if claim is None:
        return not_tested(
            "H1", QUESTION, ["INDIAN arms and baselines, named in claims.h1.arms and .baselines"]
        )
    absent = evidence.absent([*claim.arms, *claim.baselines])
    if absent:
        return not_tested("H1", QUESTION, [f"runs of arm {arm!r}" for arm in absent])
    primary = tuple(evidence.contrast(a, b) for a in claim.arms for b in claim.baselines)
    if evidence.thorough:
        primary = holm(primary)
    beside = [b for b in claim.beside if b in evidence.curves]
    arms, baselines = " and ".join(claim.arms), " and ".join(claim.baselines)
    return conclude(
        evidence,
        "H1",
        QUESTION,
        f"arm {arms} beats {baselines}"
        if len(claim.arms) == 1
        else f"arms {arms} beat {baselines}",
        primary,
        secondary=tuple(evidence.contrast(a, b) for a in claim.arms for b in beside),
        sensitivity=evidence.sensitivity(primary),
        missing=tuple(f"runs of arm {arm!r}" for arm in evidence.absent(claim.beside)),
    )
