"""H4: tuning (α, β) gains in addition to dropout and weight decay.

T2 with the usual regularizers against SGD with them decides. Where there is a 2×2×2 design ((α, β)
default or tuned × dropout × weight decay), its effects and interactions are a table beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.contrasts import conclude
from indian_tune.analysis.ends import unit_means
from indian_tune.analysis.evidence import exploratory, not_tested
from indian_tune.analysis.verdict import Amount, Details
from indian_tune.outcome import ACCURACY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Contrast, Finding
    from indian_tune.outcome import Outcome
    from indian_tune.study.hypotheses import Factorial

OFF_ON = (False, True)
ADD = "an arm of sgd that tunes dropout and weight decay, named in claims.h4.baseline"


@dataclass(frozen=True)
class FactorialDetails(Details):
    """The interactions of the 2×2×2 design, by name; ``outcome`` where it is no accuracy."""

    interactions: tuple[tuple[str, Amount], ...]
    outcome: Outcome | None = None

    def _signed(self, value: float) -> str:
        return (self.outcome or ACCURACY).signed(value)

    def lines(self) -> Sequence[str]:
        """Return an interaction a line."""
        return [f"{name}: {self._signed(made.estimate)}" for name, made in self.interactions]

    def table(self) -> Sequence[Sequence[str]]:
        """Return an interaction a row."""
        if not self.interactions:
            return ()
        return [
            ("interaction", "estimate", "lower bound", "upper bound"),
            *(
                (name, *map(self._signed, (made.estimate, made.low, made.high)))
                for name, made in self.interactions
            ),
        ]


def find(evidence: Evidence, claim: Factorial) -> Finding:
    """Judge H4 by (T2 + usual) minus (SGD + usual)."""
    design = bool(claim.cells) and not evidence.absent(cell.arm for cell in claim.cells)
    beside = _table(evidence, claim) if design else ()
    details = FactorialDetails(
        _interactions(evidence, claim) if design else (),
        None if evidence.outcome == ACCURACY else evidence.outcome,
    )
    arm, baseline = claim.regularized, claim.baseline
    if arm is None or baseline is None or evidence.absent([arm, baseline]):
        missing = [ADD] if baseline is None else evidence.runs_of([arm, baseline])
        if not design:
            return not_tested(claim, missing)
        return exploratory(
            claim,
            beside,
            "A table of the 2×2×2 design. To test what tuning adds to dropout and weight decay, "
            f"add {'; '.join(missing)}.",
            missing=tuple(missing),
            details=details,
        )
    return conclude(
        evidence,
        claim,
        "tuning (α, β) gains in addition to dropout and weight decay",
        [evidence.contrast(arm, baseline, contains=[baseline])],
        beside=beside,
        details=details,
    )


def _table(evidence: Evidence, claim: Factorial) -> tuple[Contrast, ...]:
    """Return the effects of tuning in every cell, and of either regularizer alone."""
    default = claim.arm(tuned=False, dropout=False, weight_decay=False)
    return (
        *(evidence.contrast(*pair) for pair in claim.cell_pairs()),
        *(
            evidence.contrast(claim.arm(tuned=False, dropout=on, weight_decay=not on), default)
            for on in (True, False)
        ),
    )


def _interactions(evidence: Evidence, claim: Factorial) -> tuple[tuple[str, Amount], ...]:
    """Return the interactions of tuning with dropout, weight decay and both.

    An interaction is the effect of tuning with the factor on minus that with it off, the other
    factor averaged; the threefold one is the difference of these differences. Only seeds on which
    all eight cells trained count.
    """
    cells = {
        key: evidence.arms[claim.arm(tuned=key[0], dropout=key[1], weight_decay=key[2])]
        for key in product(OFF_ON, OFF_ON, OFF_ON)
    }
    used = np.logical_and.reduce([ends.trained for ends in cells.values()])
    gains = {
        (d, w): cells[True, d, w].test - cells[False, d, w].test for d, w in product(OFF_ON, OFF_ON)
    }
    made = []
    for name, weights in (
        ("tuning × dropout", {cell: cell[0] - 0.5 for cell in gains}),
        ("tuning × weight decay", {cell: cell[1] - 0.5 for cell in gains}),
        (
            "tuning × dropout × weight decay",
            {cell: 4 * (cell[0] - 0.5) * (cell[1] - 0.5) for cell in gains},
        ),
    ):
        values = np.asarray(sum(weights[cell] * gain for cell, gain in gains.items()))
        units = unit_means(values, used)
        if len(units):
            found = evidence.bounds(units)
            made.append((name, Amount(float(found.mean), float(found.low), float(found.high))))
    return tuple(made)
