"""Recognises the kind of a source and reads its runs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from indian_tune.comparison.runs import runs_of
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.comparison.metric_names import Better
    from indian_tune.comparison.runs import Missing, Runs

_DATABASES = (".db", ".sqlite", ".sqlite3")
_JOURNALS = (".log", ".journal")


@dataclass(frozen=True)
class Request:
    """What is read of sources.

    Attributes:
        sources: paths, addresses of databases, or the name of a study of ours.
        storage: the database that the study is in; ``None`` for the default.
        metric: that is compared; ``None`` where only one can be it.
        better: "lower" or "higher"; ``None`` where the source or the metric's name says it.
        names: role → column.
        where: column → value.
        missing: what a missing value means.
        only: arms that are read; all by default.
    """

    sources: Sequence[str]
    storage: str | None = None
    metric: str | None = None
    better: Better | None = None
    names: Mapping[str, str] | None = None
    where: Mapping[str, str] | None = None
    missing: Missing = "refuse"
    only: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """Runs, and what their source says beside them.

    Attributes:
        runs: of all arms.
        delta: smallest effect of interest that a study registered; ``None`` for none.
        written: when the newest file was written; ``None`` where there is none.
        of_study: whether it is a study of ours, whose metrics may be named without their split.
    """

    runs: Runs
    delta: float | None = None
    written: datetime | None = None
    of_study: bool = False


def read(request: Request) -> Source:
    """Return the runs of sources: of files of tables all together, of anything else one.

    Raises:
        InputError: a source cannot be read, or does not hold comparable runs.
    """
    if not request.sources:
        raise InputError(
            "name a source: a study, a file (.csv, .jsonl, .parquet), an Optuna database, or a "
            "folder of event files"
        )
    for source in request.sources:
        if "://" in source or Path(source).suffix in (*_DATABASES, *_JOURNALS):
            return _alone(request, _database(request, source))
        if Path(source).is_dir():
            return _alone(request, _events(request, Path(source)))
        if not Path(source).exists() and not Path(source).suffix and "/" not in source:
            return _alone(request, _study(request, source, request.storage))
    return _tables(request)


def _alone(request: Request, source: Source) -> Source:
    if len(request.sources) > 1:
        raise InputError(
            f"{len(request.sources)} sources are given, but only table files can be read "
            "together: export the others first"
        )
    return source


def _runs(
    request: Request, frame: pd.DataFrame, metric: str | None, better: Better | None, **more: Any
) -> Runs:
    if request.better is not None and better is not None and request.better != better:
        raise InputError(
            f"better = {request.better!r}, but in the source a {better} {metric} is better: "
            "remove --better"
        )
    return runs_of(
        frame,
        metric=metric,
        better=better or request.better,
        names=request.names,
        where=request.where,
        missing=request.missing,
        only=request.only,
        **more,
    )


def _tables(request: Request) -> Source:
    from indian_tune.comparison.table_files import read_table

    frames = []
    stems = [Path(source).stem for source in request.sources]
    for source, stem in zip(request.sources, stems, strict=True):
        if not Path(source).exists():
            raise InputError(f"{source} does not exist: name a file, a folder or a database")
        frame = read_table(Path(source))
        if "arm" not in (request.names or {}) and "arm" not in frame:
            # A file for every arm.
            if stems.count(stem) > 1:
                raise InputError(
                    f"several files are called {stem}, and a file without a column arm is named "
                    "after its arm: rename them, or choose a column with --map arm=COLUMN"
                )
            frame = frame.assign(arm=stem)
        frames.append(frame)
    frame = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    written = max(Path(source).stat().st_mtime for source in request.sources)
    runs = _runs(request, frame, request.metric, None)
    return Source(runs, written=datetime.fromtimestamp(written, UTC))


def _events(request: Request, folder: Path) -> Source:
    from indian_tune.comparison.event_files import EVENTS, has_events, read_events

    if not has_events(folder):
        raise InputError(f"{folder} has no TensorBoard event files (tfevents): choose another")
    frame, metric = read_events(folder, request.metric)
    written = max(file.stat().st_mtime for file in folder.rglob(EVENTS))
    runs = _runs(request, frame, metric, None)
    return Source(runs, written=datetime.fromtimestamp(written, UTC))


def _database(request: Request, source: str) -> Source:
    """Return the runs of a database: of ours if it holds a study of ours, else of Optuna's."""
    path = Path(source.removeprefix("sqlite:///"))
    if source.startswith("sqlite:///") or "://" not in source:
        if not path.is_file():
            raise InputError(f"{path} does not exist: give the file of a database")
        if path.suffix not in _JOURNALS and not path.read_bytes()[:16].startswith(b"SQLite format"):
            raise InputError(f"{path} is not an SQLite database: choose another file")
        source = str(path) if path.suffix in _JOURNALS else f"sqlite:///{path}"
    if path.suffix not in _JOURNALS and _is_ours(source):
        return _study(request, None, source)
    from indian_tune.comparison.optuna_database import read_optuna

    mapped = "arm" in (request.names or {})
    found = read_optuna(source, request.metric, () if mapped else request.only)
    runs = _runs(request, found.frame, found.metric, found.better)
    selected, notes = (*runs.selected, *found.selected), (*runs.notes, *found.notes)
    return Source(replace(runs, selected=selected, notes=notes))


def _is_ours(url: str) -> bool:
    import sqlalchemy as sa

    try:
        engine = sa.create_engine(url)
        try:
            names = sa.inspect(engine).get_table_names()
        finally:
            engine.dispose()
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the database cannot be read ({first}): correct its address") from error
    if any(name.startswith("ledger_") for name in names):
        return True
    if "trials" not in names or "studies" not in names:
        raise InputError("the database has no studies of this program or of Optuna: choose another")
    return False


def _study(request: Request, name: str | None, storage: str | None) -> Source:
    from indian_tune.comparison.ledger_study import read_study
    from indian_tune.ledger import LedgerReader

    with closing(LedgerReader.open(storage)) as ledger:
        if name is None:
            studies = ledger.studies()
            if len(studies) != 1:
                names = ", ".join(study.name for study in studies) or "none"
                raise InputError(
                    f"{ledger.address} must contain a single study here, but contains {names}: "
                    "give the name of a study instead, and the database with --storage"
                )
            record = studies[0]
        else:
            record = ledger.study(name)
        found = read_study(ledger, record, request.metric)
    runs = _runs(
        request,
        found.frame,
        found.metric,
        found.better,
        trials=found.trials,
        trials_of=found.trials_of,
        notes=found.notes,
    )
    runs = replace(runs, began=found.began, timed=found.began is not None, examples=found.examples)
    return Source(runs, delta=found.delta, of_study=True)
