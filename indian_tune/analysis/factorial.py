"""H4: tuning (α, β) gains in addition to dropout and weight decay.

A 2×2×2 design: (α, β) default or tuned, dropout 0 or on, weight decay 0 or tuned. The effect of
tuning where both are on decides. Dropout and weight decay must help alone, else the study could not
have seen a regularizer.
"""

from __future__ import annotations

import dataclasses
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logit

from indian_tune.analysis.equivalence import equivalence
from indian_tune.analysis.finding import conclude, not_tested, points
from indian_tune.analysis.label import Label
from indian_tune.analysis.verdict import Check

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Contrast, Equivalence, Finding
    from indian_tune.study.claims import Factorial

    Values = Callable[[bool, bool, bool], NDArray[np.float64]]

QUESTION = "With dropout and weight decay on, does tuning (α, β) still gain?"
OFF_ON = (False, True)


def find_factorial(evidence: Evidence) -> Finding:
    """Judge H4 by the effect of tuning in the cell with dropout and weight decay on."""
    claim = evidence.claims.h4
    if claim is None:
        return not_tested("H4", QUESTION, ["the 8 arms of the 2×2×2 design, named in claims.h4"])
    absent = evidence.absent([cell.arm for cell in claim.cells])
    if absent:
        return not_tested("H4", QUESTION, [f"runs of arm {arm!r}" for arm in absent])
    primary = [_effect_of_tuning(evidence, claim, dropout=True, weight_decay=True)]
    controls = _controls(evidence, claim)
    checks = tuple(_check(kind, made) for kind, made in controls)
    found = conclude(
        evidence,
        "H4",
        QUESTION,
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
        equivalences=_equivalences(evidence, claim),
        checks=checks,
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
