"""Optuna's tables beside the ledger's."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from optuna.distributions import FloatDistribution

from indian_tune.engines.session import open_session
from indian_tune.errors import StorageError, UnwritableError
from indian_tune.ledger import State, storage_url
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
        with pytest.raises(StorageError, match=r"tables have schema v0\.9\.0\.a, but Optuna"):
            Projection.beside(session)
        set_version(present)


def test_a_score_that_cannot_be_written_is_named_with_what_to_do(storage: str) -> None:
    projection = Projection(storage_url(storage), "full", ["sgd"])
    projection.create()
    trial = projection.add("sgd", 1, {}, {})
    with projection._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(UnwritableError, match=r"readonly database\. Earlier records are safe: fr"):
        projection.report(trial.id, 0.5, 1)
    projection.close()


@pytest.mark.parametrize("schema", ["known", "unknown"])
def test_a_score_is_stored_once_and_only_while_its_trial_runs(
    schema: str, usual_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if schema == "unknown":
        monkeypatch.setattr("indian_tune.study.optuna.scores._KNOWN", ())
    projection = Projection(storage_url(usual_database), "scores", ["sgd"])
    assert (projection._insert_score is None) is (schema == "unknown")
    projection.create()
    searched = {"x": FloatDistribution(0.0, 1.0)}
    trial = projection.add("sgd", 1, {"x": 0.5}, searched)
    for step, value in ((1, 0.1 + 0.2), (2, 1e-300), (2, 1e-300)):
        projection.report(trial.id, value, step)
    assert projection.trial(trial.id).intermediate_values == {1: 0.1 + 0.2, 2: 1e-300}
    projection.tell(trial.id, State.COMPLETE, [0.5])
    if schema == "known":
        # As a worker may that has lost its trial to another one.
        projection.report(trial.id, 0.7, 3)
    assert set(projection.trial(trial.id).intermediate_values) == {1, 2}
    projection.close()
