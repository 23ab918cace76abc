"""The Optuna studies of a study, alone in a database of their own."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import optuna

from indian_tune.dashboard.storage import DashboardStorage
from indian_tune.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.ledger import LedgerReader, StudyRecord


def copy_optuna_studies(ledger: LedgerReader, study: StudyRecord, file: Path) -> list[str]:
    """Write the arms of a study and its confirm runs as Optuna studies, with their notes.

    Args:
        ledger: of the database to read from.
        study: whose Optuna studies are meant.
        file: new SQLite database; anything that reads Optuna's storage can open it.

    Returns:
        The names of the studies.

    Raises:
        StorageError: the file is there already or cannot be written, or the source has no tables
            of Optuna's.
    """
    if file.exists():
        raise StorageError(f"copy {file} already exists: choose another file")
    if not file.parent.is_dir():
        raise StorageError(f"copy {file}: folder {file.parent} does not exist: create it")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with closing(DashboardStorage(ledger, study.name)) as source:
        names = [shown.study_name for shown in source.get_all_studies()]
        target = optuna.storages.RDBStorage(f"sqlite:///{file}")
        try:
            for name in names:
                optuna.copy_study(from_study_name=name, from_storage=source, to_storage=target)
        finally:
            target.remove_session()
            target.engine.dispose()
    return names
