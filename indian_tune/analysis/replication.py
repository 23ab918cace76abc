"""H1: every INDIAN arm and every baseline, as a table: INDIAN contains SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.evidence import exploratory

if TYPE_CHECKING:
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding
    from indian_tune.study.hypotheses import Replication


def find(evidence: Evidence, claim: Replication) -> Finding:
    """Compare every arm with every baseline and with the other rivals."""
    rivals = [*claim.baselines, *(b for b in claim.beside if b in evidence.arms)]
    made = [evidence.contrast(arm, rival) for arm in claim.arms for rival in rivals]
    ahead = sum(each.test.estimate > 0 for each in made)
    beside = "A table that is no part of the claim. " * evidence.claims.claimed
    return exploratory(
        claim,
        made,
        f"{beside}The first arm has the better mean in {ahead} of {len(made)} comparisons.",
        missing=evidence.runs_of(claim.beside),
    )
