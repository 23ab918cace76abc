"""Numbers as papers print them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.analysis.contrasts import gains
from indian_tune.analysis.label import Label
from indian_tune.outcome import ACCURACY
from indian_tune.text import some

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.analysis.verdict import Contrast, Finding, Verdict
    from indian_tune.outcome import Outcome

# Seeds of failed runs that a sentence lists; the rest is counted.
SEEDS = 6


def arm_rows(verdict: Verdict, winners: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the heading, then a row per arm, best first: its result, runs and winner.

    Args:
        verdict: from ``analyze``.
        winners: the configuration of an arm that won, as text; without any there is no column.
    """
    outcome = verdict.scope.judged
    rows: list[tuple[str, ...]] = [
        ("", "arm", outcome.label("test_accuracy"), "runs", "winning configuration")
    ]
    means = outcome.mean_texts(
        [row.test for row in verdict.trained], [row.deviation for row in verdict.trained]
    )
    for place, (row, mean) in enumerate(zip(verdict.trained, means, strict=True), 1):
        left = row.runs - len(row.failed)
        rows.append(
            (
                str(place),
                row.arm,
                mean,
                f"{left} of {row.runs}" if row.failed else str(row.runs),
                winners.get(row.arm, "–"),
            )
        )
    return rows if winners else [row[:-1] for row in rows]


def arm_title(verdict: Verdict, winners: Mapping[str, str]) -> str:
    """Return what the rows of :func:`arm_rows` show, in words."""
    title = "Arms, best first: mean over the fresh seeds"
    if any(row.deviation is not None for row in verdict.trained):
        title += f" ± standard deviation between {verdict.unit}"
    if winners and verdict.unit == "searches":
        title += "; winner of the best search"
    return title


def shown_findings(verdict: Verdict) -> list[Finding]:
    """Return the findings that people are shown: without a claim, those that compare something."""
    return [
        found
        for found in verdict.findings
        if verdict.claimed or found.label is not Label.NOT_TESTED
    ]


def failed_runs(verdict: Verdict) -> list[str]:
    """Return a sentence for every arm of which a run failed, and when a run did."""
    found = [
        f"{row.arm} trains in {row.runs - len(row.failed)} of {row.runs} runs; it failed with "
        f"seed{'s' * (len(row.failed) > 1)} {some(row.failed, SEEDS)}."
        for row in verdict.trained
        if row.failed
    ]
    rule, doubt = verdict.scope.with_chance.untrained_words, verdict.doubt
    if found and rule:
        found.append(f"A run failed if it diverged or did not train: {rule}.")
    if doubt:
        found.append(f"{doubt}.")
    return found


def estimand_rows(
    contrasts: Sequence[Contrast], outcome: Outcome = ACCURACY
) -> list[tuple[str, ...]]:
    """Return the heading, then a row for each of Δ, D and G of every contrast."""
    rows: list[tuple[str, ...]] = [("contrast", "", "effect", "at least", "at most", "n")]
    for made in contrasts:
        for symbol, amount in (("Δ", made.test), ("D", made.train), ("G", made.gap)):
            if amount is not None and not math.isnan(amount.estimate):
                effect = map(outcome.signed, (amount.estimate, amount.low, amount.high))
                rows.append((made.name, symbol, *effect, str(made.n)))
    return rows


def _reached(made: Contrast, delta: float) -> list[Label]:
    """Return the labels that the bounds of a contrast reach, whatever its gates say."""
    return [Label.SUPPORTED] * gains(made) + [Label.REFUTED] * (made.test.high < delta)


def gate_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Return the heading, then a row per gate; contrasts with the same figure share one."""
    shared: dict[tuple[str, ...], list[str]] = {}
    allowed = {
        made.name: _reached(made, verdict.delta)
        for found in verdict.findings
        for made in found.contrasts
    }
    for gate in verdict.gates:
        labels = [label for label in gate.stops if label in allowed.get(gate.contrast, gate.stops)]
        state = "passed" if gate.passed else f"stops {' and '.join(map(str, labels))}"
        if not gate.passed and not labels:
            of = "either label" if len(gate.stops) > 1 else gate.stops[0]
            state = f"failed, but the bounds do not reach {of}"
        row = (gate.name, state, gate.figure, "" if gate.passed else gate.advice)
        shared.setdefault(row, []).append(gate.contrast)
    of_all = {gate.contrast for gate in verdict.gates}
    return [
        ("gate", "", "of", "figure", "what to do"),
        *(
            (row[0], row[1], "all" if set(names) == of_all else ", ".join(names), *row[2:])
            for row, names in shared.items()
        ),
    ]
