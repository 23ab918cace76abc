"""The end of a search: results, and commands to look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.cli.contrasts import contrast_table
from indian_tune.service.command import other_command
from indian_tune.service.output import print_lines
from indian_tune.service.ranking import (
    edge_notes,
    failure_notes,
    former_notes,
    front_table,
    level_notes,
    odd_ends,
    ranking_table,
)

if TYPE_CHECKING:
    from rich.console import Console

    from indian_tune.engines.session import Session
    from indian_tune.study import ArmResult


def conclude(
    console: Console, session: Session, ranked: list[ArmResult], storage: str | None
) -> None:
    """Print what came out of a search, and what can be looked at next."""
    spec = session.spec
    console.print(ranking_table(ranked, spec.problem.outcome))
    front = front_table(ranked, spec.protocol.scores, spec.problem.outcome)
    if front is not None:
        console.print(front)
    for result in ranked:
        odd = odd_ends(result)
        if odd:
            console.print(f"{result.name}: {odd}")
    failures = failure_notes(ranked, spec.name, storage, spec.problem.outcome)
    notes = (*level_notes(ranked), *edge_notes(ranked), *former_notes(ranked), *failures)
    for note in notes:
        console.print(note)
    contrasts = contrast_table(session)
    if contrasts is not None:
        console.print(contrasts)
    console.print(f"\nDatabase: {session.ledger.address}", soft_wrap=True)
    name = spec.name
    shown = next((result.name for result in ranked if result.tune is not None), ranked[0].name)
    hints = [
        (("show", name), "its trials"),
        (("show", name, f"{session.record.search_name(shown, 0)}/0"), "one, epoch by epoch"),
        (("dashboard", name), "the search in a browser"),
    ]
    confirmed = [result.name for result in ranked if result.confirm]
    if len(confirmed) > 1:
        first, second = confirmed[:2]
        pair = ("compare", name, "--a", first, "--b", second)
        hints.insert(0, (pair, "whether two arms differ, on test results once they are open"))
    if confirmed:
        differences = "differences, intervals, " * bool(spec.claims.pairs())
        verdict = "a verdict, " * spec.claims.claimed
        opened = f"open the test results ({differences}{verdict}figures)"
        hints.insert(0, (("analyze", name, "--out", "report"), opened))
    console.print("Next:")
    for words, what in hints:
        print_lines(console, f"{what}:", other_command(*words, storage=storage))
