"""Opening a study for work: registered, mended, and where its files lie."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.engines import process_info
from indian_tune.errors import DataError
from indian_tune.ledger import Ledger, sqlite_file
from indian_tune.problems import verify
from indian_tune.study.projection import Projection
from indian_tune.study.reconcile import Repairs, reconcile
from indian_tune.study.registration import register

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

    from indian_tune.ledger import StudyRecord
    from indian_tune.study.spec import StudySpec

ARTIFACTS = "indian-tune-artifacts"


@dataclass(frozen=True)
class Session:
    """A study that is open for work.

    Attributes:
        ledger: open for writing.
        study: as registered.
        repairs: what a crash had left half-written.
    """

    ledger: Ledger
    study: StudyRecord
    repairs: Repairs


@contextmanager
def open_session(spec: StudySpec, storage: URL, data_dir: Path | None) -> Iterator[Session]:
    """Register a study or take it up again, and mend what a crash left.

    Raises:
        DataError: its data set is missing or damaged; nothing is written.
        StorageError: the database cannot be used; nothing is written.
        StudyFileError: another study is registered under its name.
    """
    status = verify(spec.problem.dataset, data_dir, checksums=False)
    if not status.usable:
        raise DataError(status.advice)
    with Ledger.open(storage) as ledger:
        study = register(ledger, spec, host=process_info.host())
        projection = Projection(ledger.url, study.name, [arm.name for arm in spec.arms])
        try:
            repairs = reconcile(ledger, projection, study, spec, process_info.is_dead)
        finally:
            projection.close()
        yield Session(ledger, study, repairs)


def artifacts_folder(storage: URL) -> Path:
    """Return the folder of the checkpoints: beside an SQLite file, else where we stand."""
    file = sqlite_file(storage)
    return (Path.cwd() if file is None else file.absolute().parent) / ARTIFACTS
