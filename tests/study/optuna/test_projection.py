"""Optuna's tables beside the ledger's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.session import open_session
from indian_tune.errors import StorageError
from indian_tune.ledger import storage_url
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection

if TYPE_CHECKING:
    from pathlib import Path


def test_tables_of_another_optuna_are_refused(tmp_path: Path, tiny: dict[str, Any]) -> None:
    file = tmp_path / "study.db"
    spec = parse_study(tiny, source="study.toml")

    def set_version(name: str) -> str:
        with closing(sqlite3.connect(file)) as connection:
            (before,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            connection.execute("UPDATE alembic_version SET version_num = ?", (name,))
            connection.commit()
            return str(before)

    with open_session(spec, storage_url(str(file)), None) as session:
        present = set_version("v0.9.0.a")
        with pytest.raises(StorageError, match=r"tables have schema v0\.9\.0\.a, and Optuna"):
            Projection.beside(session)
        set_version(present)
