"""A verdict as text of 80 columns: the claim, what decided it, then the evidence."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from indian_tune.analysis.estimates import CONFIDENCE
from indian_tune.analysis.typography import (
    arm_rows,
    arm_title,
    failed_runs,
    gate_rows,
    shown_findings,
)
from indian_tune.analysis.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.analysis.verdict import Contrast, Finding
    from indian_tune.outcome import Outcome

WIDTH = 80
INDENT = "     "


class ReadableVerdict(Verdict):
    """A verdict that prints as text: the claim, the arms, the evidence."""

    def __repr__(self) -> str:
        return f"<ReadableVerdict {self.study!r}: {self.label}>"

    def __str__(self) -> str:
        """Return what `indian-tune analyze` prints, without the winners."""
        head, *rows = arm_rows(self, {})
        widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
        arms = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        title = textwrap.wrap(f"{arm_title(self, {})}:", WIDTH)
        shown = ["", *title, *arms] if rows else []
        return "\n".join([*head_lines(self), *shown, *evidence_lines(self)])

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Show it in a notebook."""
        printer.text(str(self))


def verdict_lines(verdict: Verdict, *, details: bool = False) -> Iterator[str]:
    """Yield the lines of a verdict, at most 80 columns each; effects in percentage points.

    Args:
        verdict: to be shown.
        details: whether to list every contrast and every gate.
    """
    yield from head_lines(verdict)
    yield from evidence_lines(verdict, details=details)


def head_lines(verdict: Verdict) -> Iterator[str]:
    """Yield the verdict, what it depends on and what it holds for."""
    if verdict.claimed:
        strongly = "strongly " if verdict.strongly else ""
        yield f"Tuning (α, β) regularizes: {strongly}{verdict.label}"
    yield from textwrap.wrap(verdict.sentence, WIDTH)
    if verdict.registration is not None and verdict.registration.note:
        yield from textwrap.wrap(verdict.registration.note, WIDTH)


def evidence_lines(verdict: Verdict, *, details: bool = False) -> Iterator[str]:
    """Yield what a verdict rests on: contrasts, gates, failed runs, and what is descriptive."""
    outcome = verdict.scope.judged
    findings = shown_findings(verdict)
    # What is compared twice is listed where it decides something.
    listed = {made.name for found in findings for made in found.contrasts}
    if findings and not details:
        yield ""
        yield f"{'':5}{'Δ test':>8} {'at least':>9} {'at most':>9} {'G':>8} {'n':>4}  contrast"
    for found in findings:
        if details:
            yield ""
        yield from _finding_lines(verdict, found, listed if details else None)
    for title, said in (
        ("Gates", _gates(verdict, details=details)),
        ("Failed runs (not in the means)", failed_runs(verdict)),
        (_found_by(verdict), _budgets(verdict)),
        (
            "Importance in the search (descriptive; PED-ANOVA: for a place among the best trials, "
            "fANOVA: for the result over the whole space)",
            _importances(verdict),
        ),
    ):
        if said:
            yield ""
            yield from textwrap.wrap(f"{title}:", WIDTH)
            for line in said:
                yield from _wrapped(line)
    if not findings:
        return
    yield ""
    deltas = f"; Δ is a difference in test, D in training {outcome.title}"
    least = f" δ, the smallest effect of interest, is {outcome.amount(verdict.delta)}."
    yield from textwrap.wrap(
        f"{outcome.unit_words} at the last epoch{deltas * details}; G is the gain in test "
        f"{outcome.title} minus that in training {outcome.title}. Bounds are one-sided: “at "
        f"least” at level {verdict.alpha:g}, “at most” at {verdict.alpha:g}/{verdict.contrasts}."
        f"{least * verdict.claimed}",
        WIDTH,
    )


def _finding_lines(verdict: Verdict, found: Finding, listed: set[str] | None) -> Iterator[str]:
    """Yield a finding, with all of its contrasts but those that were listed before.

    Args:
        verdict: that it belongs to.
        found: the finding.
        listed: names of contrasts that are not listed beside the others, to which those that are
            are added; ``None`` for a row per contrast that decides something.
    """
    outcome = verdict.scope.judged
    if not verdict.claimed:
        yield found.question
    elif listed is None:
        yield f"{found.hypothesis:4} {found.label}"
    else:
        asked = textwrap.wrap(f"{found.label}: {found.question}", WIDTH - len(INDENT))
        yield f"{found.hypothesis:4} {asked[0]}"
        yield from (f"{INDENT}{line}" for line in asked[1:])
    if listed is not None:
        yield from _every(found, outcome, listed)
    else:
        for made in found.contrasts if verdict.claimed else found.contrasts or found.beside:
            yield _row(made, outcome)
    yield from _wrapped(found.sentence)
    for note in () if found.details is None else found.details.notes():
        yield from _wrapped(note)


def _row(made: Contrast, outcome: Outcome) -> str:
    signed = outcome.signed
    gap = signed(None if made.gap is None else made.gap.estimate)
    test = made.test
    numbers = " ".join(
        f"{signed(value):>{width}}"
        for value, width in ((test.estimate, 8), (test.low, 9), (test.high, 9))
    )
    return f"{INDENT}{numbers} {gap:>8} {made.n:>4}  {made.name}"[:WIDTH].rstrip()


def _every(found: Finding, outcome: Outcome, listed: set[str]) -> Iterator[str]:
    signed = outcome.signed
    elsewhere = [each.name for each in found.beside if each.name in listed]
    for made in (*found.contrasts, *(each for each in found.beside if each.name not in listed)):
        listed.add(made.name)
        amounts = [
            f"{symbol} {signed(each.estimate)} (at least {signed(each.low)}, at most "
            f"{signed(each.high)})"
            for symbol, each in (("Δ", made.test), ("D", made.train), ("G", made.gap))
            if each is not None
        ]
        yield from _wrapped(f"{made.name}: {', '.join(amounts)}, n {made.n} {made.unit}")
    if elsewhere:
        yield from _wrapped(f"Listed with another hypothesis: {', '.join(elsewhere)}.")
    for line in () if found.details is None else found.details.lines():
        yield from _wrapped(line)


def _gates(verdict: Verdict, *, details: bool) -> list[str]:
    rows = [row for row in gate_rows(verdict)[1:] if details or row[1] != "passed"]
    return [
        f"{name} ({of}): {state}; {figure}."
        + (f" {advice[0].upper()}{advice[1:]}." if advice else "")
        for name, state, of, figure, advice in rows
    ]


def _found_by(verdict: Verdict) -> str:
    kinds = {curve.metric.partition("_")[0] for curve in verdict.budget_curves}
    title = verdict.scope.judged.title
    return (
        f"Best trial on validation, {''.join(kinds)} {title} by budget (descriptive; from its runs "
        "in the search, not from the fresh seeds)"
    )


def _budgets(verdict: Verdict) -> list[str]:
    """Return the ends of the budget curves: the whole budget, a half and a quarter of it."""
    outcome = verdict.scope.judged
    said = []
    for curve in verdict.budget_curves:
        most = curve.trials[-1]
        shown = [b for b in (most // 4, most // 2, most) if b >= curve.trials[0]]
        values = [
            f"{outcome.text(curve.mean[curve.trials.index(b)])} with {b}"
            for b in dict.fromkeys(shown)
        ]
        ends = [outcome.text(end) for end in (curve.low[-1], curve.high[-1]) if math.isfinite(end)]
        where = f"{100 * CONFIDENCE:.0f} % interval {' to '.join(ends)}; " * (len(ends) == 2)
        said.append(f"{curve.arm}: {', '.join(values)} trials ({where}{curve.searches} searches)")
    return said


def _importances(verdict: Verdict) -> list[str]:
    return [
        f"{made.arm}, {made.method} over {made.trials} trials: "
        + ", ".join(f"{name} {share:.0%}" for name, share in made.shares)
        for made in verdict.importances
    ]


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
