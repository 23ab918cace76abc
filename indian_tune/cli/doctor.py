"""`indian-tune doctor`: examine a database and mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from indian_tune.cli.options import Json, Storage

if TYPE_CHECKING:
    from indian_tune.engines.session import Finding
    from indian_tune.study.reconcile import Repairs


def doctor(
    storage: Storage = None,
    rebuild_optuna: Annotated[
        bool,
        typer.Option(
            "--rebuild-optuna",
            help="Make Optuna's tables of our studies anew from the ledger; others stay.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Examine every study of a database, mend what a crash left, and say what was found.

    An older schema is brought up to date. Safe while workers are at work, except for
    --rebuild-optuna, which refuses. Ends with 1 when something could not be mended.
    """
    from indian_tune.cli.output import print_json, results, table
    from indian_tune.engines.session import examine
    from indian_tune.ledger import Ledger

    with Ledger.open(storage, create=False) as ledger:
        damages = ledger.damages()
        # What is written into a damaged file is lost, or damages more.
        findings = [] if damages else examine(ledger, rebuild_optuna=rebuild_optuna)
        address = ledger.address
    if as_json:
        print_json(
            {
                "storage": address,
                "damages": damages,
                "studies": [_finding_json(finding) for finding in findings],
            }
        )
    else:
        console = results()
        made = table("study", "trials", "finished", "found", right=("trials", "finished"))
        for finding in findings:
            found = finding.problem or in_words(finding.repairs)
            made.add_row(finding.study, str(finding.trials), str(finding.finished), found)
        if damages:
            console.print(
                f"The file of {address} is damaged; nothing was changed. Go on from a copy "
                "(`indian-tune export --db` makes one):",
                *damages[:10],
                sep="\n  ",
            )
        elif findings:
            console.print(f"{address} opens, and its file is sound.")
            console.print(made)
        else:
            console.print(f"{address} opens, and holds no study.")
    if damages or any(finding.problem for finding in findings):
        raise typer.Exit(1)


def in_words(repairs: Repairs | None) -> str:
    """Return what was mended, in the words of its user."""
    if not repairs:
        return "nothing to mend"
    words = {
        "created": "missing Optuna studies made",
        "freed": "trials taken from dead workers",
        "told": "outcomes told to Optuna",
        "dropped": "stray Optuna trials closed",
        "restored": "trials restored in Optuna",
    }
    counts = {name: getattr(repairs, name) for name in words}
    return ", ".join(f"{count} {words[name]}" for name, count in counts.items() if count)


def _finding_json(finding: Finding) -> dict[str, object]:
    return {
        "study": finding.study,
        "trials": finding.trials,
        "finished": finding.finished,
        "mended": None if finding.repairs is None else vars(finding.repairs),
        "problem": finding.problem,
    }
