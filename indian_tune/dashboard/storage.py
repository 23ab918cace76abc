"""Optuna's storage as the dashboard sees it: the selected studies, with our notes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna_dashboard._note import note_ver_key, split_body

from indian_tune.dashboard.notes import study_notes
from indian_tune.errors import StorageError
from indian_tune.ledger import show_url, sqlite_file, sqlite_settings
from indian_tune.ledger.connections import engine_options
from indian_tune.ledger.explanations import explained
from indian_tune.ledger.outage import OUTAGE
from indian_tune.ledger.retry import database_error, is_transient

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from optuna.study._frozen import FrozenStudy
    from sqlalchemy.engine import URL

    from indian_tune.ledger import LedgerReader

# Optuna keeps the names of the objectives here.
METRIC_NAMES = "study:metric_names"
# How PostgreSQL says so; SQLite has words alone.
_UNDEFINED_TABLE = "42P01"


class DashboardStorage(RDBStorage):
    """Optuna's tables, with a note added to every study of ours that has none.

    The notes are composed on request and never stored: they are never out of date,
    and looking at a study changes nothing. A note that a user saved in the dashboard stays.

    Args:
        ledger: of the same database.
        study: show this study alone; ``None`` for all that the database holds.
        writable: whether the database takes writes on this connection.

    Raises:
        StorageError: Optuna cannot use the database.
    """

    def __init__(
        self, ledger: LedgerReader, study: str | None = None, *, writable: bool = False
    ) -> None:
        self._ledger = ledger
        self._study = study
        url = ledger.url
        try:
            super().__init__(
                url.render_as_string(hide_password=False),
                # A server that was restarted has ended the connections that are kept.
                engine_kwargs={
                    **engine_options(url, read_only=not writable),
                    "pool_pre_ping": True,
                },
                skip_table_creation=True,
            )
            if sqlite_file(url) is not None:
                _configure_sqlite(self.engine, writable=writable)
            self.get_all_studies()
        except (optuna.exceptions.StorageInternalError, sa.exc.DBAPIError) as error:
            self.close()
            cause = database_error(error)
            if cause is not None and not _is_missing_table(cause):
                raise explained(url, cause) from error
            raise StorageError(
                f"database {show_url(url)} has no Optuna tables: run `indian-tune doctor --create "
                f"--storage {show_url(url)}` to create them"
            ) from error
        except RuntimeError as error:
            # Optuna's tables are of another version than Optuna itself.
            self.close()
            raise StorageError(f"database {show_url(url)}: {error}") from error

    def close(self) -> None:
        """Close the connections, of which there are none where opening failed early."""
        if hasattr(self, "engine"):
            self.remove_session()
            self.engine.dispose()

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return the studies that are meant, each with its note and the name of its objective."""
        notes = self._notes()
        shown = super().get_all_studies()
        OUTAGE.back()
        if self._study is not None:
            shown = [each for each in shown if each.study_name.startswith(f"{self._study}/")]
        for study in shown:
            study.system_attrs = _annotated(study.system_attrs, notes.get(study.study_name))
        return shown

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return what Optuna keeps with a study, with the same note."""
        name = self.get_study_name_from_id(study_id)
        return _annotated(super().get_study_system_attrs(study_id), self._notes().get(name))

    def _notes(self) -> dict[str, tuple[str, str]]:
        return {
            name: note
            for study in self._ledger.studies()
            if self._study in (None, study.name)
            for name, note in study_notes(self._ledger, study).items()
        }


def short_of_outages(url: URL) -> Callable[[logging.LogRecord], bool]:
    """Return a filter of Optuna Dashboard's log that tells an outage in one line.

    Optuna Dashboard logs the traceback of every request that fails, and its pages ask again.

    Args:
        url: of the database.
    """

    def keep(_record: logging.LogRecord) -> bool:
        error = sys.exc_info()[1]
        if not is_transient(error):
            return True
        cause = database_error(error)
        assert cause is not None
        OUTAGE.away(str(explained(url, cause)).splitlines()[0])
        return False

    return keep


def _is_missing_table(error: sa.exc.DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state == _UNDEFINED_TABLE or "no such table" in str(error)


def _annotated(attrs: dict[str, Any], note: tuple[str, str] | None) -> dict[str, Any]:
    if note is None:
        return attrs
    objective, text = note
    added: dict[str, Any] = {METRIC_NAMES: [objective]}
    if note_ver_key(None) not in attrs:
        # Version 0: the first one that a user saves is version 1, and takes its place.
        added |= {note_ver_key(None): 0, **split_body(text, None)}
    return {**added, **attrs}


def _configure_sqlite(engine: sa.Engine, *, writable: bool) -> None:
    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        sqlite_settings(connection)
        if not writable:
            connection.execute("PRAGMA query_only=ON")

    # Connections opened so far lack the settings.
    engine.dispose()
