"""Numbers as papers print them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.outcome import ACCURACY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.analysis.verdict import Contrast, Verdict
    from indian_tune.outcome import Outcome


def some(names: Sequence[str], most: int = 6) -> str:
    """Return the first of many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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


def gate_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Return the heading, then a row per gate; contrasts with the same figure share one."""
    shared: dict[tuple[str, ...], list[str]] = {}
    for gate in verdict.gates:
        state = "passed" if gate.passed else "stops"
        advice = "" if gate.passed else gate.advice
        stops = "" if gate.passed else " and ".join(map(str, gate.stops))
        row = (gate.name, f"{state} {stops}".strip(), gate.figure, advice)
        shared.setdefault(row, []).append(gate.contrast)
    of_all = {gate.contrast for gate in verdict.gates}
    return [
        ("gate", "", "of", "figure", "what to do"),
        *(
            (row[0], row[1], "all" if set(names) == of_all else ", ".join(names), *row[2:])
            for row, names in shared.items()
        ),
    ]
