"""A verdict for people: one table at 80 columns, then the claim."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.analysis import Contrast, Finding, Verdict

WIDTH = 80
INDENT = "     "


def verdict_lines(verdict: Verdict, *, details: bool = False) -> Iterator[str]:
    """Yield the lines of a verdict, at most 80 columns each; effects in percentage points.

    Args:
        verdict: to be shown.
        details: whether to list every contrast.
    """
    level = f"{100 * (1 - 2 * verdict.alpha):g} % interval"
    yield f"{'':4} {'effect':>7}  {level:>17} {'p':>7} {'n':>4}  label"
    for found in verdict.findings:
        yield from _finding_lines(found, verdict.delta)
    for title, said in (
        ("Assay checks", [check.sentence for check in verdict.checks]),
        ("Diverged", [_diverged(verdict)] if verdict.diverged else []),
        ("Importance in the search (descriptive)", _importances(verdict)),
    ):
        if said:
            yield ""
            yield f"{title}:"
            for line in said:
                yield from _wrapped(line)
    if details:
        yield ""
        yield from _contrast_lines(verdict)
    yield ""
    yield from textwrap.wrap(f"Tuning (α, β) regularizes: {verdict.label}", WIDTH)
    yield from textwrap.wrap(verdict.sentence, WIDTH)
    yield from textwrap.wrap(
        f"Effects in percentage points of test accuracy; smallest effect of interest "
        f"{100 * verdict.delta:g}, one-sided level {verdict.alpha:g}.",
        WIDTH,
    )


def interval(low: float | None, high: float | None) -> str:
    """Return bounds in percentage points."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    return f"{100 * low:+.2f} to {100 * high:+.2f}"


def _finding_lines(found: Finding, delta: float) -> Iterator[str]:
    effect = "–" if found.estimate is None else f"{100 * found.estimate:+.2f}"
    p = "–" if found.p is None else f"{found.p:.4f}" if found.p < 0.001 else f"{found.p:.3f}"
    label = f"strongly {found.label}" if found.strongly else str(found.label)
    if found.reading is not None and found.reading != found.label:
        label += f" ({str(found.reading).lower()})"
    if found.provisional:
        label += ", provisional"
    bounds = interval(found.low, found.high)
    yield (
        f"{found.hypothesis:4} {effect:>7}  {bounds:>17} {p:>7} {_count(found.n):>4}  {label}"
    ).rstrip()
    yield from _wrapped(found.sentence)
    if found.seeds_needed is not None and found.detectable is not None:
        yield from _wrapped(
            f"At power 0.8, {found.n} seeds find {100 * found.detectable:.2f} points and "
            f"{found.seeds_needed} find {100 * delta:g}."
        )
    beside = _beside(found)
    if beside:
        yield from _wrapped(f"Beside: {'; '.join(beside)}.")
    if found.details is not None and found.estimate is not None:
        for note in found.details.notes():
            yield from _wrapped(note)
    for said in found.provisional:
        yield from _wrapped(f"Provisional: {said}.")
    if found.missing and str(found.label) != "NOT TESTED":
        yield from _wrapped(f"Not in the study: {'; '.join(found.missing)}.")


def _beside(found: Finding) -> list[str]:
    """Return the smallest effect of every other outcome, and the controls beside."""
    said = []
    for outcome in dict.fromkeys(made.outcome for made in found.sensitivity):
        least = min(
            (made for made in found.sensitivity if made.outcome == outcome),
            key=lambda made: made.estimate,
        )
        said.append(f"{outcome} {_amount(least)}")
    if found.details is None or found.details.secondary_beside:
        said += [f"{made.name} {_amount(made)}" for made in found.secondary]
    return said


def _amount(made: Contrast) -> str:
    return f"{100 * made.estimate:+.2f} [{interval(made.low, made.high)}]"


def _contrast_lines(verdict: Verdict) -> Iterator[str]:
    yield "Every contrast:"
    for found in verdict.findings:
        for made in (*found.primary, *found.secondary, *found.sensitivity):
            yield from textwrap.wrap(
                f"{found.hypothesis} {made.name} ({made.outcome}): {_amount(made)}, "
                f"p {made.p:.3f}{_further(made)}, n {made.n}",
                WIDTH,
                subsequent_indent=INDENT,
            )
        for line in () if found.details is None else found.details.lines():
            yield from textwrap.wrap(f"{found.hypothesis} {line}", WIDTH, subsequent_indent=INDENT)
        for made_on_images in found.images:
            bounds = interval(made_on_images.low, made_on_images.high)
            yield from textwrap.wrap(
                f"{found.hypothesis} {made_on_images.name}, over seeds and "
                f"{made_on_images.images} images: [{bounds}]",
                WIDTH,
                subsequent_indent=INDENT,
            )


def _further(made: Contrast) -> str:
    said = ""
    if made.p_adjusted is not None:
        said += f", Holm {made.p_adjusted:.3f}"
    if made.p_sign_flip is not None:
        said += f", sign flips {made.p_sign_flip:.3f}"
    return said


def _importances(verdict: Verdict) -> list[str]:
    return [
        f"{made.arm}, {made.method} over {made.trials} trials: "
        + ", ".join(f"{name} {share:.0%}" for name, share in made.shares)
        for made in verdict.importances
    ]


def _diverged(verdict: Verdict) -> str:
    runs = verdict.diverged
    some = ", ".join(runs[:6]) + (f" and {len(runs) - 6} more" if len(runs) > 6 else "")
    return f"{len(runs)} runs, which count with the score of chance: {some}."


def _count(n: int | None) -> str:
    return "–" if n is None else str(n)


def _wrapped(text: str) -> Sequence[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
