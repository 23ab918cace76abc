"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def complete_study(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the studies of the database, for a shell that completes one."""
    from indian_tune.errors import IndianTuneError
    from indian_tune.ledger import LedgerReader

    try:
        with LedgerReader.open(context.params.get("storage")) as ledger:
            names = [study.name for study in ledger.studies()]
    except IndianTuneError:
        return []
    return [name for name in names if name.startswith(incomplete)]


Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        help="Database: a file, sqlite:///FILE or postgresql+psycopg://…",
        envvar="INDIAN_TUNE_STORAGE",
        show_envvar=True,
        show_default="sqlite:///indian-tune.db",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="Name of a study; not needed if there is only one.",
        autocompletion=complete_study,
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the data sets.", envvar="INDIAN_TUNE_DATA"),
]
Artifacts = Annotated[
    Path | None,
    typer.Option(
        "--artifacts",
        help="Folder of the checkpoints; all workers of a study share it.",
        show_default="as recorded for the study, else indian-tune-artifacts beside the database",
    ),
]
AllowImport = Annotated[
    bool,
    typer.Option(
        "--allow-import",
        help="Allow the study to run its own code: a problem, optimizers, a sampler or a pruner.",
    ),
]
Lanes = Annotated[
    int | None,
    typer.Option(
        "--lanes",
        min=1,
        help="Runs that a worker trains together; on a GPU it changes results in the last bits.",
        show_default="1 on a CPU; on a GPU the number timed as fastest",
    ),
]
ShrinkPacks = Annotated[
    bool,
    typer.Option(
        "--shrink-packs",
        help="On a GPU, train the last runs of a study with fewer lanes: faster, but the number "
        "of lanes changes results in the last bits.",
    ),
]
