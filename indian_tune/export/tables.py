"""Writes a study to tables in files: trials, runs and epochs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError
from indian_tune.ledger.frames import epoch_frame, example_frame, run_frame, trial_frame
from indian_tune.text import unused_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from indian_tune.ledger import LedgerReader, StudyRecord
    from indian_tune.study import RegisteredStudy


def study_tables(
    study: RegisteredStudy[LedgerReader], *, sealed: bool = False
) -> dict[str, pd.DataFrame]:
    """Return the tables of a study by name: trials, runs, epochs, and examples if ``sealed``.

    Args:
        study: to take out.
        sealed: whether to add the test results: columns of runs and epochs, and which test images
            each run classifies correctly (a character per image, 1 for correct).

    Raises:
        SealedError: the test results are asked for and nobody has unsealed them.
    """
    ledger, objective = study.ledger, study.spec.protocol.score
    tables = {
        "trials": trial_frame(ledger, study.id, objective=objective),
        "runs": run_frame(ledger, study.id, sealed=sealed, objective=objective),
        "epochs": epoch_frame(ledger, study.id, sealed=sealed, objective=objective),
    }
    if sealed:
        examples = example_frame(ledger, study.id)
        correct = ["".join("01"[int(right)] for right in row) for row in examples["correct"]]
        # Of other tasks no output is right or wrong, and a loop of one's own reports only means.
        if correct:
            tables["examples"] = examples.assign(correct=correct)
    return tables


def write_tables(
    tables: dict[str, pd.DataFrame],
    study: StudyRecord,
    claims: dict[str, Any],
    folder: Path,
    form: str,
) -> list[Path]:
    """Write tables, a file each, ``study.json``, what was registered, and ``claims.json``.

    Numbers keep every digit. What is missing is an empty field in CSV and null in JSON.

    Args:
        tables: by name.
        study: that they are of.
        claims: from ``exported_claims``; with them ``analyze --from`` reads the epochs.
        folder: made if need be.
        form: csv, parquet or json.

    Returns:
        The files.

    Raises:
        InputError: one of the files is there already, or cannot be written; nothing is replaced.
    """
    files = {name: folder / f"{name}.{form}" for name in tables}
    beside = {folder / "study.json": _registered(study), folder / "claims.json": claims}
    refuse_existing(folder, [*files.values(), *beside])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            _WRITERS[form](table, files[name])
        for file, content in beside.items():
            file.write_text(_dumps(content), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out {folder} cannot be written: {error}") from error
    return [*files.values(), *beside]


def refuse_existing(folder: Path, files: list[Path]) -> None:
    """Refuse to write over what is there.

    Args:
        folder: given with --out.
        files: that would be written.

    Raises:
        InputError: one of the files exists.
    """
    for file in files:
        if file.exists():
            raise InputError(
                f"{file} already exists and is not overwritten: choose another folder, such as "
                f"--out {unused_path(folder)}"
            )


# What a spreadsheet takes for the beginning of a formula, and may then execute.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _csv(table: pd.DataFrame, file: Path) -> None:
    texts = table.select_dtypes(["object", "string"])
    table.assign(**texts.map(_inert)).to_csv(file, index=False, lineterminator="\n")


def _inert(value: Any) -> Any:
    """Return a cell that a spreadsheet shows as text if it is one: quoted as spreadsheets do."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _parquet(table: pd.DataFrame, file: Path) -> None:
    # By a file that is open: Arrow takes no name that is not UTF-8.
    with file.open("wb") as stream:
        table.to_parquet(stream, index=False)


def _json(table: pd.DataFrame, file: Path) -> None:
    # Not through pandas, which writes 15 digits at most.
    missing = table.isna()
    columns = {
        name: [
            None if gone else value
            for value, gone in zip(table[name].tolist(), missing[name], strict=True)
        ]
        for name in table.columns
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    file.write_text(_dumps(rows), encoding="utf-8")


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": _csv,
    "parquet": _parquet,
    "json": _json,
}


def _registered(study: StudyRecord) -> dict[str, Any]:
    return {
        "name": study.name,
        "registered": study.created_at.isoformat(),
        "version": study.version,
        "spec_hash": study.spec_hash,
        "spec": study.spec,
    }


def _dumps(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"
