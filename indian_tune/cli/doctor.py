"""`indian-tune doctor`: examine this machine and a database, and repair the database."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indian_tune.cli.options import Artifacts, DataDir, Json, Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from indian_tune.checkup import CheckResult
    from indian_tune.engines.session import Examination
    from indian_tune.study.optuna.reconcile import Repairs

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    storage: Storage = None,
    create: Annotated[
        bool,
        typer.Option(
            "--create", help="Create an SQLite database, or missing tables in any database."
        ),
    ] = False,
    rebuild_optuna: Annotated[
        bool,
        typer.Option(
            "--rebuild-optuna",
            help="Rebuild the Optuna tables of the studies from indian-tune's own tables.",
        ),
    ] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to reach: auto, ray://HOST:PORT or HOST:PORT."),
    ] = None,
    data_dir: DataDir = None,
    artifacts: Artifacts = None,
    as_json: Json = False,
) -> None:
    """Check this machine and a database, and repair damage after a crash.

    It also updates an older schema. It is safe while workers run, except for --rebuild-optuna,
    which is then refused.
    The exit status is 1 when a check fails or something could not be repaired, and 2 when the
    database cannot be used. Warnings do not change the status.
    """
    from indian_tune.checkup import (
        check_database,
        check_empty_database,
        check_machine,
        check_new_database,
    )
    from indian_tune.checkup.check import CheckResult, Level
    from indian_tune.engines.session import artifacts_folder, examine, make_optuna_tables
    from indian_tune.errors import EmptyDatabaseError, StorageError
    from indian_tune.ledger import Ledger, show_url, sqlite_file, storage_url
    from indian_tune.service.output import print_json, results

    url = storage_url(storage)
    console = results()
    told: dict[str, Any] = {"storage": show_url(url), "damages": [], "studies": []}
    unusable: StorageError | None = None
    file = sqlite_file(url)
    failed = opened = False
    damages: list[str] = []
    examined: list[Examination] = []
    if (
        storage is None
        and not (create or rebuild_optuna)
        and file is not None
        and not file.exists()
    ):
        about = check_new_database(url)
    else:
        try:
            with Ledger.open(url, create=create) as ledger:
                if create:
                    make_optuna_tables(ledger)
                about = check_database(ledger)
                damages = ledger.integrity_errors()
                # What is written into a damaged file is lost, or damages more.
                examined = [] if damages else examine(ledger, rebuild_optuna=rebuild_optuna)
        except StorageError as error:
            if isinstance(error, EmptyDatabaseError) and not rebuild_optuna:
                about = check_empty_database(url)
            else:
                unusable = error
                # Nothing was looked at, so nothing is known to be sound.
                told |= {"damages": None, "studies": None}
                # The error ends the output, in one line that can be copied.
                below = f"{show_url(url)} cannot be used: the reason is below the table"
                about = CheckResult("database", Level.FAIL, str(error) if as_json else below)
        else:
            opened = True
            told |= {
                "damages": damages,
                "studies": [_as_json(each) for each in examined],
            }
            failed = bool(damages) or any(each.problem for each in examined)
    if not as_json:
        # What is asked for by an option comes first: the rest takes some seconds.
        _print_checks(console, [about])
    checks = [
        about,
        *check_machine(url, artifacts or artifacts_folder(url), data_dir, ray_address),
    ]
    if as_json:
        print_json({**told, "checks": [asdict(check) for check in checks]})
    else:
        _print_checks(console, checks[1:])
        if opened:
            _print_database(console, told["storage"], damages, examined)
    if unusable is not None:
        raise unusable
    if failed or any(check.level is Level.FAIL for check in checks):
        raise typer.Exit(1)


def _print_checks(console: Console, checks: Sequence[CheckResult]) -> None:
    """Print a line for every check, with what to do below it."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 2, 0, 0))
    # Of one width, so that later lines align with earlier ones.
    made.add_column(width=4)
    made.add_column(width=17)
    made.add_column(overflow="fold")
    for check in checks:
        style = STYLES[check.level]
        made.add_row(Text(str(check.level), style), check.name, check.text)
        if check.fix:
            made.add_row("", "", f"→ {check.fix}")
    console.print(made)


def _print_database(
    console: Console, address: str, damages: Sequence[str], examined: Sequence[Examination]
) -> None:
    from indian_tune.service.output import table

    console.print()
    if damages:
        console.print(
            f"The file of {address} is damaged; nothing was changed. Continue from a copy, if you "
            "made one with `indian-tune export --db`. Damage found:",
            *damages[:10],
            sep="\n  ",
        )
    elif examined:
        made = table("study", "trials", "finished", "found", right=("trials", "finished"))
        for each in examined:
            found = each.problem or in_words(each.repairs)
            if each.ignored:
                found += f"; Optuna trials of others, which are ignored: {each.ignored}"
            made.add_row(each.study, str(each.trials), str(each.finished), found)
        console.print(f"{address} opens, and its file is not damaged.")
        console.print(made)
    else:
        console.print(f"{address} opens, and contains no study.")


def in_words(repairs: Repairs | None) -> str:
    """Return what was repaired, in words."""
    if not repairs:
        return "nothing to repair"
    words = {
        "created": "missing Optuna studies created",
        "lost": "dead workers recorded",
        "freed": "trials released for other workers",
        "told": "results copied to Optuna",
        "dropped": "unused Optuna trials closed",
        "restored": "trials restored in Optuna",
    }
    counts = {name: getattr(repairs, name) for name in words}
    return ", ".join(f"{words[name]}: {count}" for name, count in counts.items() if count)


def _as_json(examination: Examination) -> dict[str, object]:
    return {
        "study": examination.study,
        "trials": examination.trials,
        "finished": examination.finished,
        "repaired": None if examination.repairs is None else vars(examination.repairs),
        "problem": examination.problem,
        "ignored": examination.ignored,
    }
