"""`indian-tune studies`: the shipped study files, and the studies in a database."""

from __future__ import annotations

from indian_tune.cli.options import Json, Storage


def studies(storage: Storage = None, as_json: Json = False) -> None:
    """List the shipped study files and the studies in a database."""
    from indian_tune.ledger import LedgerReader
    from indian_tune.ledger.address import has_database
    from indian_tune.service.output import print_json, results, table
    from indian_tune.service.registered import Registered, registered, registered_table
    from indian_tune.service.shipped import question, shipped_studies

    files = shipped_studies()
    there: list[Registered] = []
    # Without a database yet there is nothing registered, unless one was asked for by name.
    if has_database(storage):
        with LedgerReader.open(storage) as ledger:
            there = registered(ledger)
    if as_json:
        print_json(
            {
                "files": [
                    {"name": path.stem, "path": str(path), "question": question(path)}
                    for path in files
                ],
                "registered": [each.as_json() for each in there],
            }
        )
        return
    console = results()
    shown = table("name", "question", title="Study files (run one with `indian-tune search NAME`)")
    for path in files:
        shown.add_row(path.stem, question(path))
    console.print(shown)
    if there:
        console.print(registered_table(there, "Registered"))
