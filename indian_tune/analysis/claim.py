"""From the hypotheses to the claim: the fixed order, the links, the scope.

The links of the claim are tested in their order (H2 → H3b → H4) at one level; what comes after a
failure is shown and labelled exploratory. H1 opens the order as a question of its own, replication:
it does not gate the claim, whose error level holds without it, since the claim needs all links. H3a
is secondary.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from indian_tune.analysis.label import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.verdict import Check, Contrast, Finding, Scope
    from indian_tune.study.hypotheses import Hypothesis

REJECTED = (Label.SUPPORTED, Label.NEGLIGIBLE)
PAPER = (
    "Descriptive replication, underpowered: the paper's protocol chooses step sizes and reports on "
    "the same test images, so that no hypothesis is tested."
)


def in_order(findings: Sequence[Finding], links: Sequence[type[Hypothesis]]) -> tuple[Finding, ...]:
    """Label what comes after a failure in the fixed order as exploratory.

    A hypothesis that was not tested is passed over: the study was not registered to test it.
    """
    by_name = {found.hypothesis: found for found in findings}
    failed: str | None = None
    for link in (kind.name for kind in links):
        found = by_name[link]
        if found.label is Label.NOT_TESTED:
            continue
        if failed is not None:
            by_name[link] = dataclasses.replace(
                found,
                label=Label.EXPLORATORY,
                strongly=False,
                sentence=f"Exploratory, since {failed} failed before it. {found.sentence}",
            )
        elif found.label not in REJECTED:
            failed = link
    return tuple(by_name[found.hypothesis] for found in findings)


def explored(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Label all that was tested as exploratory."""
    return tuple(
        found
        if found.label is Label.NOT_TESTED
        else dataclasses.replace(found, label=Label.EXPLORATORY, strongly=False)
        for found in findings
    )


def described(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Take every statement of support or its lack away: the protocol allows description only."""
    return tuple(
        found if found.label is Label.NOT_TESTED else _described(found) for found in findings
    )


def judge(
    findings: Sequence[Finding], checks: Sequence[Check], links: Sequence[type[Hypothesis]]
) -> tuple[Label, str | None, str]:
    """Return the label of the claim, the link that it fails on, and the reason in words.

    Args:
        findings: in their order, as :func:`in_order` labelled them.
        checks: assay checks of the study and of its hypotheses.
        links: the hypotheses that must all hold.
    """
    names = [link.name for link in links]
    chain = [found for found in findings if found.hypothesis in names]
    if all(found.label is Label.NOT_TESTED for found in chain):
        reason = f"None of {', '.join(names[:-1])} and {names[-1]} was tested."
        return Label.NOT_TESTED, names[0], reason
    if all(found.label is Label.SUPPORTED for found in chain) and _sound(checks):
        gains = [link.gain for link in links]
        reason = f"Tuning (α, β) improves accuracy {', '.join(gains[:-1])}, and {gains[-1]}."
        return Label.SUPPORTED, None, reason
    refuted = next((found for found in chain if found.label is Label.REFUTED), None)
    if refuted is not None and _sound(checks):
        return Label.REFUTED, refuted.hypothesis, f"It breaks at {_said(refuted)}"
    broken = refuted or next(
        (found for found in chain if found.label is not Label.SUPPORTED), chain[0]
    )
    unsound = " ".join(check.sentence for check in checks if not check.passed)
    if unsound:
        return (
            Label.INCONCLUSIVE,
            broken.hypothesis,
            f"The assay checks do not all pass. {unsound}",
        )
    return Label.INCONCLUSIVE, broken.hypothesis, f"It hangs on {_said(broken)}"


def scope_words(scope: Scope) -> str:
    """Return what a verdict holds for, in words."""
    parts = [
        f"{scope.network or 'an unnamed network'} on {scope.dataset or 'an unnamed data set'}",
        f"{scope.n} seed{'s' * (scope.n != 1)}",
    ]
    if scope.epochs is not None:
        parts.append(f"{scope.epochs} epochs")
    if scope.trials is not None:
        of = f" of {scope.tune_epochs} epochs" if scope.tune_epochs is not None else ""
        parts.append(f"a budget of {scope.trials} trials{of} per arm")
    return ", ".join(parts)


def _sound(checks: Sequence[Check]) -> bool:
    return all(check.passed for check in checks)


def _said(found: Finding) -> str:
    return f"{found.hypothesis}: {found.sentence}"


def _described(found: Finding) -> Finding:
    size = "" if found.estimate is None else f" The smallest difference is {_amount(found)}."
    return dataclasses.replace(
        found,
        label=Label.DESCRIPTIVE,
        reading=None,
        strongly=False,
        sentence=f"Described only, over {found.n} initialisations shared by all arms.{size}",
        primary=_unlabelled(found.primary),
        secondary=_unlabelled(found.secondary),
        sensitivity=_unlabelled(found.sensitivity),
    )


def _unlabelled(contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    return tuple(dataclasses.replace(made, label=Label.DESCRIPTIVE) for made in contrasts)


def _amount(found: Finding) -> str:
    assert found.estimate is not None
    return f"{100 * found.estimate:+.2f} points"
