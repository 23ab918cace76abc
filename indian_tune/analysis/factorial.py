"""H4: tuning (α, β) gains in addition to dropout and weight decay.

A 2×2×2 design: (α, β) default or tuned, dropout 0 or on, weight decay 0 or tuned. The effect of
tuning where both are on decides. Dropout and weight decay must help alone, else the study could not
have seen a regularizer.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.special import logit

from indian_tune.analysis.equivalence import equivalence
from indian_tune.analysis.finding import conclude, points
from indian_tune.analysis.label import Label
from indian_tune.analysis.typography import p_value, signed_points
from indian_tune.analysis.verdict import Check, Details

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from indian_tune.analysis.equivalence import Equivalence
    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Contrast, Finding
    from indian_tune.study.hypotheses import Factorial

    Values = Callable[[bool, bool, bool], NDArray[np.float64]]

OFF_ON = (False, True)


@dataclass(frozen=True)
class FactorialDetails(Details):
    """The interactions of H4, tested for equivalence to none."""

    equivalences: tuple[Equivalence, ...]

    secondary_beside: ClassVar[bool] = False

    def lines(self) -> Sequence[str]:
        """Return an interaction a line."""
        return [
            f"{row.name}, {row.scale}: {row.estimate:+.4f} within ±{row.margin:.4f}: p {row.p:.3f}"
            for row in self.equivalences
        ]

    def table(self) -> Sequence[Sequence[str]]:
        """Return an interaction a row."""
        if not self.equivalences:
            return ()
        return [
            ("interaction", "scale", "estimate", "p (TOST)", "within ±δ"),
            *(
                (
                    row.name,
                    row.scale,
                    signed_points(row.estimate)
                    if row.scale == "accuracy"
                    else f"{row.estimate:.2f}",
                    p_value(row.p),
                    "yes" if row.equivalent else "no",
                )
                for row in self.equivalences
            ),
        ]


def find(evidence: Evidence, claim: Factorial) -> Finding:
    """Judge H4 by the effect of tuning in the cell with dropout and weight decay on."""
    primary = [_effect_of_tuning(evidence, claim, dropout=True, weight_decay=True)]
    controls = _controls(evidence, claim)
    checks = tuple(_check(kind, made) for kind, made in controls)
    found = conclude(
        evidence,
        claim,
        "tuning (α, β) gains in addition to dropout and weight decay",
        primary,
        secondary=(
            *(
                _effect_of_tuning(evidence, claim, dropout=dropout, weight_decay=decay)
                for dropout, decay in product(OFF_ON, OFF_ON)
                if not (dropout and decay)
            ),
            *(made for _, made in controls),
            *_interactions(evidence, claim),
        ),
        sensitivity=evidence.sensitivity(primary),
        checks=checks,
        details=FactorialDetails(_equivalences(evidence, claim)),
    )
    failed = [check for check in checks if not check.passed]
    if not failed:
        return found
    return dataclasses.replace(
        found,
        label=Label.INCONCLUSIVE,
        reading=Label.INCONCLUSIVE,
        strongly=False,
        sentence=f"The assay is insensitive: {' '.join(check.sentence for check in failed)} "
        "What cannot show a known regularizer cannot judge a new one.",
    )


def interactions(values: Values) -> dict[str, NDArray[np.float64]]:
    """Return the per-seed interactions of tuning with dropout, weight decay, and both.

    An interaction is the effect of tuning with the factor on minus that with it off, the other
    factor averaged; the threefold one is the difference of these differences.

    Args:
        values: of a cell (tuned, dropout, weight decay), [seeds].
    """
    gain = {
        (dropout, decay): values(True, dropout, decay) - values(False, dropout, decay)
        for dropout, decay in product(OFF_ON, OFF_ON)
    }
    return {
        "tuning × dropout": sum_of(gain, lambda d, w: (2 * d - 1) / 2),
        "tuning × weight decay": sum_of(gain, lambda d, w: (2 * w - 1) / 2),
        "tuning × dropout × weight decay": sum_of(gain, lambda d, w: (2 * d - 1) * (2 * w - 1)),
    }


def sum_of(
    gain: dict[tuple[bool, bool], NDArray[np.float64]], weight: Callable[[bool, bool], float]
) -> NDArray[np.float64]:
    """Return a weighted sum over the cells of dropout and weight decay."""
    return np.asarray(sum(weight(*cell) * values for cell, values in gain.items()))


def _values(evidence: Evidence, claim: Factorial) -> Values:
    return lambda tuned, dropout, decay: evidence.outcome(
        claim.arm(tuned=tuned, dropout=dropout, weight_decay=decay), "final"
    )


def _effect_of_tuning(
    evidence: Evidence, claim: Factorial, *, dropout: bool, weight_decay: bool
) -> Contrast:
    tuned, default = (
        claim.arm(tuned=tuned, dropout=dropout, weight_decay=weight_decay)
        for tuned in (True, False)
    )
    return evidence.contrast(tuned, default)


def _controls(evidence: Evidence, claim: Factorial) -> list[tuple[str, Contrast]]:
    neither = claim.arm(tuned=False, dropout=False, weight_decay=False)
    dropout = claim.arm(tuned=False, dropout=True, weight_decay=False)
    decay = claim.arm(tuned=False, dropout=False, weight_decay=True)
    return [
        ("dropout", evidence.contrast(dropout, neither)),
        ("weight decay", evidence.contrast(decay, neither)),
    ]


def _check(kind: str, made: Contrast) -> Check:
    passed = made.low > 0
    return Check(
        name=f"{kind} helps alone",
        passed=passed,
        sentence=f"{kind.capitalize()} alone {'helps' if passed else 'is not seen to help'} "
        f"({points(made.estimate)} points, p = {made.p:.3f}).",
    )


def _interactions(evidence: Evidence, claim: Factorial) -> tuple[Contrast, ...]:
    made = interactions(_values(evidence, claim))
    tuned = claim.arm(tuned=True, dropout=True, weight_decay=True)
    default = claim.arm(tuned=False, dropout=True, weight_decay=True)
    return tuple(
        evidence.compare(differences, tuned, default, "interaction", name)
        for name, differences in made.items()
    )


def _equivalences(evidence: Evidence, claim: Factorial) -> tuple[Equivalence, ...]:
    """Test every interaction for equivalence to none, in points and on the logit scale.

    The margin on the logit scale is what δ is worth there at the mean accuracy a of the default
    cell with both regularizers: δ / (a (1 − a)). Accuracies of exactly 0 or 1 have no logit; then
    the rows on that scale are left out.
    """
    if len(evidence.seeds) < 2 or not evidence.thorough:
        return ()
    alpha, delta = evidence.claims.alpha, evidence.claims.delta
    values = _values(evidence, claim)
    rows = [
        equivalence(name, differences, delta, alpha)
        for name, differences in interactions(values).items()
    ]
    cells = [values(*cell) for cell in product(OFF_ON, OFF_ON, OFF_ON)]
    if all(((cell > 0) & (cell < 1)).all() for cell in cells):
        level = float(values(False, True, True).mean())
        margin = delta / (level * (1 - level))
        scaled = interactions(lambda *cell: np.asarray(logit(values(*cell))))
        rows += [
            equivalence(name, differences, margin, alpha, scale="logit")
            for name, differences in scaled.items()
        ]
    return tuple(rows)
