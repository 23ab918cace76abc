"""`indian-tune export`: write a study, or a whole database, to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from indian_tune.cli.options import Json, Storage, StudyName
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.ledger import LedgerReader, StudyRecord


def export(
    study: StudyName = None,
    form: Annotated[
        Literal["csv", "parquet", "json", "tensorboard"] | None,
        typer.Option(
            "--format",
            help="csv, parquet, json: one file each for trials, runs and epochs; tensorboard: "
            "event files, one folder per run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for --format.", show_default="STUDY-export"),
    ] = None,
    unseal: Annotated[
        bool,
        typer.Option(
            "--unseal", help="Include the test results in --format; their opening is recorded."
        ),
    ] = False,
    optuna_db: Annotated[
        Path | None,
        typer.Option("--optuna", help="New SQLite file with only the study's Optuna tables."),
    ] = None,
    db: Annotated[
        Path | None,
        typer.Option(
            "--db",
            help="New file for a copy of the whole SQLite database; works while it is in use.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            help="Folder for TensorBoard files that follow the study to its end; a later call "
            "continues.",
        ),
    ] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Export a study as tables or TensorBoard event files, or copy its database.

    Choose one of --format, --log, --optuna and --db. Existing files are not overwritten.
    """
    from indian_tune.ledger import LedgerReader
    from indian_tune.service.study_status import choose_study

    _check(study, form, out, unseal=unseal, optuna_db=optuna_db, db=db, log=log)
    if unseal:
        _unseal(storage, study)
    with LedgerReader.open(storage) as ledger:
        if db is not None:
            _copy_database(ledger, db, as_json=as_json)
            return
        record = choose_study(ledger, study)
        if optuna_db is not None:
            _copy_optuna(ledger, record, optuna_db, as_json=as_json)
            return
        if log is not None:
            _follow(ledger, record, log, as_json=as_json)
            return
        assert form is not None
        folder = out or Path(f"{record.name}-export")
        if form == "tensorboard":
            from indian_tune.export.tensorboard import write_events

            runs = write_events(ledger, record, folder, sealed=unseal)
            _print_files(
                record,
                runs,
                f"{counted(len(runs), 'run')} in {folder}; view them with\n"
                f"  tensorboard --logdir {folder}",
                as_json=as_json,
            )
            return
        from indian_tune.export.claims import exported_claims
        from indian_tune.export.tables import study_tables, write_tables
        from indian_tune.study import RegisteredStudy

        opened = RegisteredStudy.open(ledger, record)
        tables = study_tables(opened, sealed=unseal)
        claims = exported_claims(opened)
        files = write_tables(tables, record, claims, folder, form)
        rows = {name: len(table) for name, table in tables.items()}
        lines = [
            f"{file} ({counted(rows[file.stem], 'row')})" if file.stem in rows else str(file)
            for file in files
        ]
        _print_files(record, files, "\n".join(lines), as_json=as_json)


def _check(
    study: str | None,
    form: str | None,
    out: Path | None,
    *,
    unseal: bool,
    optuna_db: Path | None,
    db: Path | None,
    log: Path | None,
) -> None:
    """Refuse options that do not go together, before anything is opened."""
    from indian_tune.errors import InputError

    given = [
        name
        for name, value in (
            *(("--format", form), ("--log", log)),
            *(("--optuna", optuna_db), ("--db", db)),
        )
        if value is not None
    ]
    if len(given) != 1:
        raise InputError(
            f"{' and '.join(given) or 'no option'} is given: give exactly one of --format "
            "csv|parquet|json|tensorboard, --log FOLDER, --optuna FILE and --db FILE"
        )
    if form is None and (out is not None or unseal):
        other = "--out" if out is not None else "--unseal"
        raise InputError(f"{other} needs --format, but {given[0]} is given: remove {other}")
    if db is not None and study is not None:
        raise InputError(
            f"--db copies the whole database, not only {study!r}: remove the name, or use "
            "--format or --optuna"
        )


def _unseal(storage: str | None, name: str | None) -> None:
    from indian_tune.ledger import Ledger
    from indian_tune.service.output import notices
    from indian_tune.service.study_status import choose_study

    with Ledger.open(storage, create=False) as ledger:
        record = choose_study(ledger, name)
        if not ledger.unseal(record.id, by="export --unseal"):
            return
    notices().print(
        f"The test results of {record.name} are now open; this is recorded.",
        soft_wrap=True,
    )


def _follow(ledger: LedgerReader, record: StudyRecord, folder: Path, *, as_json: bool) -> None:
    import time

    from indian_tune.engines import interruptible
    from indian_tune.export.event_log import follow
    from indian_tune.service.output import notices

    notices().print(
        f"Writing the epochs of {record.name} as they are recorded, until it is finished; press "
        "Ctrl-C to stop. View them with\n"
        f"  tensorboard --logdir {folder}",
        soft_wrap=True,
    )
    with interruptible(lambda: None) as interrupt:

        def pause(seconds: float) -> bool:
            until = time.monotonic() + seconds
            while not interrupt.requested and time.monotonic() < until:
                time.sleep(0.1)
            return interrupt.requested

        place = follow(ledger, record, folder, pause)
    files = sorted({file.parent for file in place.rglob("events.*")})
    _print_files(record, files, f"{counted(len(files), 'run')} in {place}", as_json=as_json)


def _copy_database(ledger: LedgerReader, file: Path, *, as_json: bool) -> None:
    from indian_tune.service.output import print_json, results

    ledger.copy_to(file)
    size = file.stat().st_size
    if as_json:
        print_json({"storage": ledger.address, "copy": str(file), "bytes": size})
    else:
        results().print(f"{ledger.address} copied to {file} ({size / 1e6:.1f} MB)", soft_wrap=True)


def _copy_optuna(ledger: LedgerReader, record: StudyRecord, file: Path, *, as_json: bool) -> None:
    from indian_tune.export.optuna_studies import copy_optuna_studies
    from indian_tune.service.output import print_json, results

    names = copy_optuna_studies(ledger, record, file)
    if as_json:
        print_json({"study": record.name, "copy": str(file), "optuna_studies": names})
    else:
        results().print(f"{file}: {', '.join(names)}", soft_wrap=True)


def _print_files(record: StudyRecord, files: Sequence[Path], text: str, *, as_json: bool) -> None:
    from indian_tune.service.output import print_json, results

    if as_json:
        print_json({"study": record.name, "files": [str(file) for file in files]})
    else:
        results().print(text, soft_wrap=True)
