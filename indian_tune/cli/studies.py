"""`indian-tune studies`: the shipped study files, and the studies in a database."""

from __future__ import annotations

from indian_tune.cli.options import Json, Storage


def studies(storage: Storage = None, as_json: Json = False) -> None:
    """List the shipped study files and the studies in a database."""
    from indian_tune.ledger import LedgerReader, sqlite_file, storage_url
    from indian_tune.service.output import print_json, results, table
    from indian_tune.service.shipped import question, shipped_studies

    files = shipped_studies()
    url = storage_url(storage)
    file = sqlite_file(url)
    registered = []
    # Without a database yet there is nothing registered, unless one was asked for by name.
    if storage is not None or file is None or file.exists():
        with LedgerReader.open(url) as ledger:
            for record in ledger.studies():
                parts = ledger.progress(record.id)
                done = sum(part.finished for part in parts)
                registered.append((record, done, sum(part.total for part in parts)))
    if as_json:
        print_json(
            {
                "files": [
                    {"name": path.stem, "path": str(path), "question": question(path)}
                    for path in files
                ],
                "registered": [
                    {
                        "name": record.name,
                        "created_at": record.created_at,
                        "trials_finished": done,
                        "trials": total,
                    }
                    for record, done, total in registered
                ],
            }
        )
        return
    console = results()
    shown = table("name", "question", title="Study files (run one with `indian-tune search NAME`)")
    for path in files:
        shown.add_row(path.stem, question(path))
    console.print(shown)
    if registered:
        shown = table("study", "registered", "trials", title="Registered", right=("trials",))
        for record, done, total in registered:
            shown.add_row(record.name, f"{record.created_at:%Y-%m-%d %H:%M} UTC", f"{done}/{total}")
        console.print(shown)
