"""Derives the verdict on the claim from the findings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.analysis.contrasts import overall, refutes, stopped, supports, told
from indian_tune.analysis.label import Label
from indian_tune.outcome import ACCURACY
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.verdict import Contrast, Finding, Gate, Scope
    from indian_tune.outcome import Outcome
    from indian_tune.study.hypotheses import Hypothesis

PAPER = (
    "Descriptive replication, underpowered: the paper's protocol chooses step sizes on the same "
    "test examples that it reports, so no hypothesis is tested."
)
NONE = "The study tests no claim on (α, β), so no verdict is given."
UNCOMPARED = (
    f"{NONE} Its arms are not compared with each other either: `indian-tune compare` says whether "
    "two of them differ."
)


def judge(
    findings: Sequence[Finding],
    links: Sequence[type[Hypothesis]],
    delta: float,
    outcome: Outcome = ACCURACY,
) -> tuple[Label, bool, str | None, str]:
    """Return the label of the claim, whether strongly, what it depends on, and the reason in words.

    Args:
        findings: one per hypothesis.
        links: the hypotheses that must all hold.
        delta: smallest effect of interest.
        outcome: what runs are judged by.
    """
    names = [link.name for link in links]
    chain = [found for found in findings if found.hypothesis in names]
    pairs = [(found, made) for found in chain for made in found.contrasts]
    if not pairs:
        return Label.NOT_TESTED, False, names[0], f"None of {_listed(names)} was tested."
    gates = [gate for found in chain for gate in found.gates]
    contrasts = [made for _, made in pairs]
    missing = [
        f"{found.hypothesis} ({'; '.join(found.missing)})" for found in chain if found.missing
    ]
    whole = not missing and all(found.contrasts for found in chain)
    label, strongly = overall(contrasts, gates, delta, whole=whole)
    if label is Label.REFUTED:
        against = [(found, made) for found, made in pairs if refutes(made, gates, delta)]
        found = against[0][0]
        names = list(dict.fromkeys(found.hypothesis for found, _ in against))
        bounds = "upper bound is" if len(against) == 1 else "upper bounds are"
        reason = (
            f"Refuted at {_listed(names)}: "
            f"{'. '.join(told(made, delta, outcome) for _, made in against)}. The {bounds} below "
            f"δ = {outcome.amount(delta)}, the smallest effect of interest."
        )
        if any(supports(other, gates) for other in contrasts):
            reason += " Other contrasts show a gain, but the claim needs a gain in each of them."
        return label, False, found.hypothesis, reason
    if label is Label.SUPPORTED:
        gains = [link.gain for link in links]
        how = f" by more than {outcome.amount(delta)}" if strongly else ""
        return (
            label,
            strongly,
            None,
            f"Tuning (α, β) improves test {outcome.title}{how} {_listed(gains)}.",
        )
    bare = [(found, found.gates[0]) for found in chain if found.gates and not found.contrasts]
    if bare:
        found, gate = bare[0]
        return Label.INCONCLUSIVE, False, f"{found.hypothesis}, gate {gate.name}", found.sentence
    hangs_on, reason = _open(pairs, missing, delta, gates, outcome)
    return Label.INCONCLUSIVE, False, hangs_on, reason


def scope_words(scope: Scope) -> str:
    """Return what a verdict holds for, in words."""
    parts = [
        f"{scope.network or 'an unnamed network'} on {scope.dataset or 'an unnamed data set'}",
        f"this pool of examples, {scope.searches} search{'es' * (scope.searches != 1)} of every "
        f"arm with {counted(scope.n, 'seed')}",
    ]
    if scope.epochs is not None:
        parts.append(f"a horizon of {counted(scope.epochs, 'epoch')}")
    if scope.trials is not None:
        of = f" of {counted(scope.tune_epochs, 'epoch')}" if scope.tune_epochs is not None else ""
        parts.append(f"a budget of {counted(scope.trials, 'trial')}{of} per search")
    if scope.extended:
        least, most = scope.extended
        added = str(most) if least == most else f"{least} to {most}, depending on the arm"
        parts[-1] += f" (extended by {added})"
    return ", ".join(parts)


def _open(
    pairs: Sequence[tuple[Finding, Contrast]],
    missing: list[str],
    delta: float,
    gates: Sequence[Gate],
    outcome: Outcome,
) -> tuple[str, str]:
    """Return what an open claim depends on: a gate, what is missing, or the least sure contrast."""
    for found, made in pairs:
        for label in (Label.REFUTED, Label.SUPPORTED):
            of_bounds = made.test.high < delta if label is Label.REFUTED else made.test.low > 0
            failed = stopped(made, gates, label)
            few = [gate for gate in failed if gate.name == "searches"]
            if few or (of_bounds and failed):
                gate = (few or failed)[0]
                others = [each.name for each in failed if each is not gate]
                also = (
                    f" This contrast fails at other gates too: {', '.join(others)}."
                    if others
                    else ""
                )
                bare, _ = overall([made for _, made in pairs], (), delta, whole=not missing)
                # Of too few searches the bounds say nothing of tuning.
                without = f" The bounds alone, without gates, would say {bare}." * (not few)
                return (
                    f"{found.hypothesis}, gate {gate.name}",
                    f"It depends on the gate “{gate.name}” of {found.hypothesis}: {gate.figure}. "
                    f"What to do: {gate.advice}.{also} {told(made, delta, outcome)}."
                    f"{_needed(made, delta, outcome)}{without}",
                )
    if missing:
        reason = f"Not every hypothesis is tested. Missing: {'; '.join(missing)}."
        return missing[0].partition(" ")[0], reason
    found, made = min(pairs, key=lambda pair: _least(pair[1]))
    return (
        found.hypothesis,
        f"It depends on {found.hypothesis}: {told(made, delta, outcome)}."
        f"{_needed(made, delta, outcome)}",
    )


def _needed(made: Contrast, delta: float, outcome: Outcome) -> str:
    """Return what the searches of a contrast can find, and how many are needed, in words."""
    if made.power is None:
        return ""
    return (
        f" With {made.n} {made.unit} this contrast alone finds an effect of "
        f"{outcome.size(made.power.detectable or 0)} {outcome.unit} with 80 % probability. To "
        f"find {outcome.amount(delta)} in all contrasts together takes {made.power.needed} "
        f"{made.unit}, and to rule it out if there is no gain {made.power.needed_to_refute} "
        f"(planned with a standard deviation of {outcome.size(made.power.planned)}, the 80 % "
        f"upper bound of the {outcome.size(made.power.deviation)} between these)."
    )


def _least(made: Contrast) -> float:
    low = made.test.low
    if made.needs_gap:
        low = min(low, -math.inf if made.gap is None else made.gap.low)
    return low


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
