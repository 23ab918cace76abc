"""`indian-tune status`: how far a study is and how its arms rank."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.options import Json, Storage, StudyName

if TYPE_CHECKING:
    from rich.console import Console

    from indian_tune.ledger import LedgerReader, StudyRecord
    from indian_tune.service.study_status import StudyStatus


def status(
    study: StudyName = None,
    storage: Storage = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Update the display until the study is finished.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time between updates of --watch.", min=0.2)
    ] = 2.0,
    as_json: Json = False,
) -> None:
    """Show the progress of a study, its workers, and the ranking of its arms.

    Without a name, the studies are listed if the database has several.
    """
    from indian_tune.errors import InputError
    from indian_tune.ledger import LedgerReader
    from indian_tune.service.output import print_json, results
    from indian_tune.service.study_status import choose_study, look

    if watch and as_json:
        raise InputError("--watch cannot be used with --json: call `status --json` repeatedly")
    with LedgerReader.open(storage) as ledger:
        if study is None and not watch and len(ledger.studies()) > 1:
            _list(results(), ledger, storage, as_json=as_json)
            return
        record = choose_study(ledger, study)
        if watch:
            _watch(results(), ledger, record, every)
            return
        now = look(ledger, record)
        if as_json:
            print_json(now.as_json())
        else:
            results().print(now.shown())
            _show_next(results(), ledger, now, storage)


def _show_next(
    console: Console, ledger: LedgerReader, now: StudyStatus, storage: str | None
) -> None:
    """Say how a study continues that nobody works on."""
    from indian_tune.service.command import other_command, recorded_command
    from indian_tune.service.output import print_lines
    from indian_tune.study.completion import search_command

    if now.finished and not now.completion.failed:
        return
    if now.arrays or any(worker.id not in now.lost for worker in now.workers):
        return
    failed = now.completion.failed
    if failed:
        cause = other_command("show", now.study.name, failed[0], storage=storage)
        print_lines(console, "See the cause:", cause)
    command = search_command(ledger, now.study.id)
    if command is None:
        changed = " with retry_failed=True" * bool(failed)
        console.print(f"\nNo worker is running. To continue, run its script again{changed}.")
        return
    retry = ("--retry-failed",) if failed else ()
    again = recorded_command(command, *retry, storage=storage)
    print_lines(console, "\nNo worker is running. Continue with:", again)


def _list(console: Console, ledger: LedgerReader, storage: str | None, *, as_json: bool) -> None:
    """Show which studies a database contains, and how to choose one."""
    from indian_tune.service.command import other_command
    from indian_tune.service.output import print_json, print_lines
    from indian_tune.service.registered import registered, registered_table

    there = registered(ledger)
    if as_json:
        print_json({"studies": [each.as_json() for each in there]})
        return
    console.print(registered_table(there, f"Studies in {ledger.address}"))
    name = there[-1].study.name
    print_lines(
        console, "\nTo show one, give its name:", other_command("status", name, storage=storage)
    )


def _watch(console: Console, ledger: LedgerReader, study: StudyRecord, seconds: float) -> None:
    """Show a study until it is finished, or Ctrl-C; in a log, whenever something has changed."""
    import time
    from datetime import UTC, datetime

    from indian_tune.service.output import live_display
    from indian_tune.service.progress import LiveTable
    from indian_tune.service.study_status import look
    from indian_tune.study import RegisteredStudy

    live = live_display(console)
    table = LiveTable(RegisteredStudy.open(ledger, study), elapsed=False)
    before = None
    with live or contextlib.nullcontext(), contextlib.suppress(KeyboardInterrupt):
        while True:
            now = look(ledger, study)
            if live is not None:
                progress, _ = table.look(now.parts, console.width)
                live.update(now.shown(progress), refresh=True)
            elif now != before:
                progress, _ = table.look(now.parts, None)
                console.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
                console.print(now.shown(progress))
            if now.finished or now.completion.stuck():
                return
            before = now
            time.sleep(seconds)
