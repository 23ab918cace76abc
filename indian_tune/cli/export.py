"""`indian-tune export`: take a copy of a database out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from indian_tune.cli.options import Json, Storage


def export(
    db: Annotated[
        Path, typer.Option("--db", help="File to write the copy to; it must not exist yet.")
    ],
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Copy a whole SQLite database, consistent even while workers write to it."""
    from indian_tune.cli.output import print_json, results
    from indian_tune.ledger import LedgerReader

    with LedgerReader.open(storage) as ledger:
        ledger.copy_to(db)
        address = ledger.address
    size = db.stat().st_size
    if as_json:
        print_json({"storage": address, "copy": str(db), "bytes": size})
    else:
        results().print(f"{address} copied to {db} ({size / 1e6:.1f} MB)")
