"""How a search ends: what came out, what is left or has failed, and how to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.cli.contrasts import contrast_table
from indian_tune.errors import UnfinishedError
from indian_tune.service.command import other_command
from indian_tune.service.output import print_lines
from indian_tune.service.ranking import (
    edge_notes,
    front_table,
    level_notes,
    outcomes,
    ranking_table,
)
from indian_tune.text import counted

if TYPE_CHECKING:
    from rich.console import Console

    from indian_tune.engines.session import Session
    from indian_tune.ledger import Phase
    from indian_tune.service.command import Command
    from indian_tune.study import ArmResult, Completion


def conclude(
    console: Console, session: Session, ranked: list[ArmResult], storage: str | None
) -> None:
    """Print what came out of a search, and what can be looked at next."""
    spec = session.spec
    console.print(ranking_table(ranked))
    front = front_table(ranked, spec.protocol.scores)
    if front is not None:
        console.print(front)
    for result in ranked:
        parts = (result.tune, result.match, result.half, result.confirm)
        odd = ", ".join(filter(None, map(outcomes, parts)))
        if odd:
            console.print(f"{result.name}: {odd}")
    for note in (*level_notes(ranked), *edge_notes(ranked)):
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
    if any(result.confirm for result in ranked):
        opened = "open the test results (effects, intervals, a verdict, figures)"
        hints.insert(0, (("analyze", name, "--out", "report"), opened))
    console.print("Next:")
    for words, what in hints:
        print_lines(console, f"{what}:", other_command(*words, storage=storage))


def check_finished(
    now: Completion,
    until: Phase,
    storage: str | None,
    *,
    go_on: Command,
    retry: Command,
    freeze: Command | None,
) -> None:
    """Refuse to end as if all were well when trials are left or have failed.

    Args:
        now: how far the study is.
        until: the last phase that was asked for.
        storage: as ``--storage`` was given.
        go_on: the command that goes on.
        retry: the one that tries failed trials again.
        freeze: the one that freezes winners and levels although trials have failed among which
            they are chosen; ``None`` where none were to be frozen.

    Raises:
        UnfinishedError: with the commands that go on.
    """
    if now.failed:
        show = other_command("show", now.study, now.failed[0], storage=storage)
        text = (
            f"{now.failures}; what happened is in the record:\n{show.line}\n"
            f"Once the cause is removed, try them again:\n{retry.line}"
        )
        if now.withheld and freeze is not None:
            text += (
                f"\n{now.withheld.capitalize()} before that: the choice is among all trials. "
                f"To pass over those that failed:\n{freeze.line}"
            )
        raise UnfinishedError(text)
    if not now.finished(until):
        raise UnfinishedError(
            f"study {now.study!r} has {counted(now.left(until), 'trial')} left. Go on "
            f"with:\n{go_on.line}"
        )
