"""Runs that were trained elsewhere: their claims registered, and their files judged."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError, StorageError
from indian_tune.service.verdict_files import EXAMPLES, RUNS, Analysis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.analysis import Registration
    from indian_tune.study.file.claims_file import ClaimsFile

# Columns of text, whatever their values look like: null, NA, 1, True.
TEXT = (
    *("study", "arm", "optimizer", "phase", "trial_state", "run_state", "objective", "started_at"),
    "correct",
)

# Clocks of files, machines and databases differ by moments, and some file systems count in 2 s.
MARGIN = timedelta(seconds=2)


def register_claims(path: Path, storage: str | None) -> tuple[Path, str]:
    """Register claims before their runs exist.

    The digest and the date go into the database that was named, or the default one if it is there,
    and into a copy of the file, ``NAME.registered.json``.

    Returns:
        The copy, and in words where the registration is.

    Raises:
        InputError: the file names no seeds or is registered already, or the copy exists.
    """
    from indian_tune.study.file.claims_file import registered_file, unregistered, write_registered

    file, out = unregistered(path), registered_file(path)
    at, said = register_digest(file.digest, file.content, storage)
    write_registered(file, out, at)
    return out, f"{said} Give {out}, not {path.name}, to --claims."


def register_digest(
    digest: str, content: Mapping[str, Any], storage: str | None, *, create: bool = True
) -> tuple[datetime, str]:
    """Record the digest of what is fixed before the runs in the database, if there is one.

    Args:
        digest: of the content.
        content: as plain data.
        storage: the database; ``None`` for the default, if it is there.
        create: whether a database that is named is made if it is not there.

    Returns:
        When it was registered first, and in words where.
    """
    from indian_tune.ledger import Ledger
    from indian_tune.ledger.address import has_database

    if not has_database(storage):
        said = "The registration is self-declared: keep the file where its date can be proved."
        return datetime.now(UTC), said
    with Ledger.open(storage, create=create) as ledger:
        at = ledger.register_claims(digest, content)
        return at, f"Registered in {ledger.address} at {utc_time(at)}."


def from_file(source: Path, claims: Path, storage: str | None) -> Analysis:
    """Judge runs that were trained elsewhere.

    Args:
        source: the runs, a .parquet or .csv file.
        claims: about them, a TOML or JSON file.
        storage: the database in which the claims may be registered.

    Raises:
        InputError: a file cannot be read, or does not say what it has to.
    """
    from indian_tune import analysis
    from indian_tune.analysis.report import Background
    from indian_tune.study.file.claims_file import load_claims

    file = load_claims(claims)
    judged = None if file.scope.outcome is None else file.scope.outcome.outcome
    frame = read_runs(source)
    beside = source.with_name(f"examples{source.suffix}")
    examples = read_examples(beside) if beside != source and beside.exists() else None
    verdict = analysis.analyze(
        frame,
        file.claims,
        registration=_registration(file, frame, source, storage),
        scope=analysis.Scope(
            **file.scope.model_dump(exclude={"spaces", "outcome"}), outcome=judged
        ),
        spaces=file.scope.parsed_spaces,
        examples=examples,
    )
    provenance = [("Runs", str(source)), ("Claims", str(claims))]
    frames = {RUNS: frame}
    if examples is None:
        remark = (
            "Bounds do not include the variation between test examples: beside the "
            "runs there is no file `examples` of the same format."
        )
    else:
        provenance.append(("Test examples", str(beside)))
        frames[EXAMPLES] = examples
        remark = f"Bounds include the variation between test examples, from {beside.name}."
    background = Background(provenance=provenance, winners=_winners(frame))
    return Analysis(verdict, frames, file.claims, background, {}, remark=remark)


def _winners(frame: pd.DataFrame) -> dict[str, str]:
    """Return the configuration of every arm whose runs on the fresh seeds have one alone."""
    from indian_tune.analysis.frame import with_config_columns
    from indian_tune.columns import config_columns, hyperparameter
    from indian_tune.service.output import config_text

    rows = frame[frame["phase"] == "confirm"] if "phase" in frame else frame
    rows = with_config_columns(rows)
    columns = config_columns(rows.columns)
    configs = rows[["arm", *columns]].drop_duplicates().set_index("arm")
    return {
        str(arm): config_text({hyperparameter(str(name)): value for name, value in own.items()})
        for arm, row in configs[~configs.index.duplicated(keep=False)].iterrows()
        if len(own := row.dropna())
    }


def _registration(
    file: ClaimsFile, frame: pd.DataFrame, source: Path, storage: str | None
) -> Registration | None:
    """Return what was registered: in the database, or in the file of claims alone."""
    from indian_tune.analysis import Registration

    section = file.registration
    if section is None:
        return None
    breaks = list(file.departures)
    at, note = in_database(file.digest, storage)
    if at is None and section.digest is not None:
        at = section.at
        note = self_declared(at)
        if at is None:
            breaks.append("the registration has no date: export the study again, or register it")
    if at is not None:
        began, what = _began(frame, source)
        if "started_at" not in frame or frame["started_at"].isna().all():
            note += " It cannot be checked whether the runs began later: they have no started_at."
        if began + MARGIN < at:
            breaks.append(
                f"the claims were registered at {utc_time(at)}, after {what} at {utc_time(began)}"
            )
    return Registration(
        mode=section.mode,
        seeds=tuple(section.seeds),
        trials=section.trials,
        breaks=tuple(breaks),
        note=note,
    )


def in_database(digest: str, storage: str | None) -> tuple[datetime | None, str]:
    """Return when claims were registered in the database, and that in words."""
    from indian_tune.ledger import LedgerReader
    from indian_tune.ledger.address import has_database
    from indian_tune.service.output import notices

    if not has_database(storage):
        return None, ""
    try:
        with LedgerReader.open(storage) as ledger:
            at = ledger.claims_registered_at(digest)
            return at, "" if at is None else f"Registered in {ledger.address} at {utc_time(at)}."
    except StorageError as error:
        if storage is not None:
            raise
        # The default database may be of something else.
        notices().print(
            f"The default database was not searched for a registration: {error}", soft_wrap=True
        )
        return None, ""


def self_declared(at: datetime | None) -> str:
    """Return what to say of a registration that is only in a file, with the date that this has."""
    dated = "has no date" if at is None else f"says {utc_time(at)}"
    return f"The registration is self-declared: it is only in a file, which {dated}."


def _began(frame: pd.DataFrame, source: Path) -> tuple[datetime, str]:
    """Return when the first run began, at the latest when the file was written; and which."""
    import pandas as pd

    if "started_at" in frame and frame["started_at"].notna().any():
        try:
            times = pd.to_datetime(frame["started_at"], utc=True, format="ISO8601")
        except ValueError as error:
            raise InputError(
                f"column started_at must hold times such as 2026-01-31T12:00:00+00:00: {error}"
            ) from error
        return times.min().to_pydatetime(), "the first run began"
    return datetime.fromtimestamp(source.stat().st_mtime, UTC), f"{source.name} was written"


def utc_time(at: datetime) -> str:
    """Return a time in words."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def read_runs(source: Path) -> pd.DataFrame:
    """Return runs that were trained elsewhere, from a .parquet or .csv file.

    Raises:
        InputError: it cannot be read.
    """
    import pandas as pd

    if source.suffix not in (".parquet", ".csv"):
        raise InputError(f"--from = {source} must be a .parquet or .csv file")
    try:
        if source.suffix == ".parquet":
            with source.open("rb") as stream:
                frame = pd.read_parquet(stream)
        else:
            _check_lines(source)
            text = pd.read_csv(
                source, usecols=lambda name: name in TEXT, dtype=str, keep_default_na=False
            )
            frame = pd.read_csv(source, usecols=lambda name: name not in TEXT)
            frame = pd.concat([text, frame], axis=1)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    except (ValueError, csv.Error) as error:
        raise InputError(f"{source} cannot be read as {source.suffix[1:]}: {error}") from error
    for name in set(TEXT) & set(frame):
        frame[name] = frame[name].where(frame[name].map(lambda value: not _is_empty(value)), None)
    return frame


def _is_empty(value: object) -> bool:
    return isinstance(value, str) and not value


def _check_lines(source: Path) -> None:
    """Check that no line has more values than the first has names: pandas would leave them out."""
    with source.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        names = next(lines, [])
        for values in lines:
            if len(values) > len(names):
                raise ValueError(
                    f"line {lines.line_num} has {len(values)} values, but the first line has "
                    f"{len(names)} column names"
                )


def read_examples(source: Path) -> pd.DataFrame:
    """Return which test examples every run gets right, as `export` or `analyze --out` writes it.

    Returns:
        Its columns; correct holds arrays of bool, [examples].

    Raises:
        InputError: it cannot be read, or is not such a file.
    """
    frame = read_runs(source)
    missing = [name for name in ("arm", "seed", "correct") if name not in frame]
    if missing or not frame["correct"].map(_is_row).all():
        lack = f"the column {missing[0]!r}" if missing else "a 0 or 1 for every test example"
        raise InputError(f"{source} lacks {lack}: remove it, or export the study again")
    return frame.assign(correct=frame["correct"].map(_bits))


def _bits(row: Any) -> NDArray[np.bool_]:
    import numpy as np

    if isinstance(row, str):
        row = np.frombuffer(row.encode(), np.uint8) == ord("1")
    bits: NDArray[np.bool_] = np.asarray(row, dtype=np.bool_)
    return bits


def _is_row(row: Any) -> bool:
    """Whether a value has a 0 or 1 for every test example: as a text, or a list."""
    if not isinstance(row, str) and hasattr(row, "__len__"):
        row = "".join(str(int(value)) for value in row)
    return set(str(row)) <= {"0", "1"}
