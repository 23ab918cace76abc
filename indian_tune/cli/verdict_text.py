"""A verdict for people: the claim, what it hangs on, then the evidence, at 80 columns."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from indian_tune.analysis.typography import gate_rows, signed_points, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.analysis import Contrast, Finding, Verdict

WIDTH = 80
INDENT = "     "


def verdict_lines(verdict: Verdict, *, details: bool = False) -> Iterator[str]:
    """Yield the lines of a verdict, at most 80 columns each; effects in percentage points.

    Args:
        verdict: to be shown.
        details: whether to list every contrast and every gate.
    """
    strongly = "strongly " if verdict.strongly else ""
    yield f"Tuning (α, β) regularizes: {strongly}{verdict.label}"
    yield from textwrap.wrap(verdict.sentence, WIDTH)
    if verdict.registration is not None and verdict.registration.note:
        yield from textwrap.wrap(verdict.registration.note, WIDTH)
    yield ""
    yield f"{'':5}{'Δ test':>8} {'at least':>9} {'at most':>9} {'G':>8} {'n':>4}  contrast"
    for found in verdict.findings:
        yield from _finding_lines(found)
    for title, said in (
        ("Gates", _gates(verdict, details=details)),
        ("Failed, in no mean", _failures(verdict)),
        (_found_by(verdict), _budgets(verdict)),
        ("Importance in the search (descriptive)", _importances(verdict)),
    ):
        if said:
            yield ""
            yield f"{title}:"
            for line in said:
                yield from _wrapped(line)
    if details:
        yield ""
        yield "Every contrast:"
        for found in verdict.findings:
            yield from _every(found)
    yield ""
    yield from textwrap.wrap(
        "Percentage points of accuracy at the last epoch; G is the gain in test accuracy that is "
        f"not one in training accuracy. Bounds are one-sided: “at least” at level {verdict.alpha:g}"
        f", “at most” at {verdict.alpha:g}/{verdict.contrasts}. Smallest effect of interest: "
        f"{100 * verdict.delta:g}.",
        WIDTH,
    )


def _finding_lines(found: Finding) -> Iterator[str]:
    yield f"{found.hypothesis:4} {found.label}"
    for made in found.contrasts:
        yield _row(made)
    yield from _wrapped(found.sentence)
    for note in () if found.details is None else found.details.notes():
        yield from _wrapped(note)


def _row(made: Contrast) -> str:
    gap = signed_points(None if made.gap is None else made.gap.estimate)
    test = made.test
    numbers = " ".join(
        f"{signed_points(value):>{width}}"
        for value, width in ((test.estimate, 8), (test.low, 9), (test.high, 9))
    )
    return f"{INDENT}{numbers} {gap:>8} {made.n:>4}  {made.name}"[:WIDTH].rstrip()


def _every(found: Finding) -> Iterator[str]:
    for made in (*found.contrasts, *found.beside):
        amounts = [
            f"{symbol} {signed_points(each.estimate)} (at least {signed_points(each.low)}, at most "
            f"{signed_points(each.high)})"
            for symbol, each in (("Δ", made.test), ("D", made.train), ("G", made.gap))
            if each is not None
        ]
        yield from _listed(
            f"{found.hypothesis} {made.name}: {', '.join(amounts)}, n {made.n} {made.unit}"
        )
    for line in () if found.details is None else found.details.lines():
        yield from _listed(f"{found.hypothesis} {line}")


def _gates(verdict: Verdict, *, details: bool) -> list[str]:
    rows = [row for row in gate_rows(verdict)[1:] if details or row[1] != "passed"]
    return [
        f"{name} ({of}): {state}; {figure}."
        + (f" {advice[0].upper()}{advice[1:]}." if advice else "")
        for name, state, of, figure, advice in rows
    ]


def _failures(verdict: Verdict) -> list[str]:
    return [
        f"{row.arm} trains in {row.runs - len(row.failed)} of {row.runs} runs, not with seeds "
        f"{some(row.failed)}."
        for row in verdict.trained
        if row.failed
    ]


def _found_by(verdict: Verdict) -> str:
    kinds = {curve.metric.partition("_")[0] for curve in verdict.budget_curves}
    return f"Best trial on validation, {''.join(kinds)} accuracy by budget (descriptive)"


def _budgets(verdict: Verdict) -> list[str]:
    """Return the ends of the budget curves: the whole budget, a half and a quarter of it."""
    said = []
    for curve in verdict.budget_curves:
        most = curve.trials[-1]
        shown = [b for b in (most // 4, most // 2, most) if b >= curve.trials[0]]
        values = [
            f"{100 * curve.mean[curve.trials.index(b)]:.2f} % with {b}"
            for b in dict.fromkeys(shown)
        ]
        reach = 100 * (curve.high[-1] - curve.mean[-1])
        width = f" ± {reach:.2f}" * math.isfinite(reach)
        said.append(f"{curve.arm}: {', '.join(values)} trials{width} ({curve.searches} searches)")
    return said


def _importances(verdict: Verdict) -> list[str]:
    return [
        f"{made.arm}, {made.method} over {made.trials} trials: "
        + ", ".join(f"{name} {share:.0%}" for name, share in made.shares)
        for made in verdict.importances
    ]


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


def _listed(text: str) -> Sequence[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=INDENT)
