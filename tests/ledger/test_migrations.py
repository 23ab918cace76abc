"""A database of an older schema is brought up to date with all that it holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

import indian_tune.ledger
from indian_tune.ledger import Ledger, LedgerReader, Phase, storage_url
from indian_tune.ledger.database import _engine, _rebuilding
from indian_tune.ledger.tables import VERSION_TABLE, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

NUMBERS = [0.1, math.nextafter(0.1, 1), 1 / 3, 5e-324, 1e308, 0.0, 1.0, None]
METRICS = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
# With spaces and an order that no serializer of ours would write.
SPEC = '{"name":  "old", "b": 1, "a": 2}'
OLD_ROWS = f"""
INSERT INTO ledger_study (id, name, spec, spec_hash, version, created_at)
VALUES (1, 'old', '{SPEC}', 'hash', '1', '2026-01-01');
INSERT INTO ledger_arm (id, study_id, position, name, optimizer) VALUES (1, 1, 0, 'sgd', 'sgd');
INSERT INTO ledger_trial (id, study_id, arm_id, phase, "index", state, attempts, told)
VALUES (1, 1, 1, 'tune', 0, 'complete', 1, TRUE), (2, 1, 1, 'confirm', 0, 'waiting', 0, FALSE);
INSERT INTO ledger_run (id, trial_id, seed, state, epochs_planned, epochs_done)
VALUES (7, 1, 0, 'complete', 8, 8);
INSERT INTO ledger_event (id, study_id, trial_id, kind, data, at)
VALUES (99, 1, 1, 'kind', '{{}}', '2026-01-01');
"""


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    opened = _engine(storage_url(database))
    yield opened
    opened.dispose()


@pytest.fixture
def migrate(engine: sa.Engine) -> Callable[..., None]:
    """Bring the schema to a revision, up or down."""

    def to(revision: str, direction: Callable[..., None] = command.upgrade) -> None:
        config = Config()
        folder = Path(indian_tune.ledger.__file__).parent / "migrations"
        config.set_main_option("script_location", str(folder))
        with _rebuilding(engine) as connection:
            config.attributes["connection"] = connection
            direction(config, revision)

    return to


@pytest.fixture
def old(engine: sa.Engine, migrate: Callable[..., None]) -> sa.Engine:
    """A database of schema 0003 with a study in it."""
    migrate("0003")
    with engine.begin() as connection:
        for statement in OLD_ROWS.split(";")[:-1]:
            connection.exec_driver_sql(statement)
        epoch = sa.table(
            "ledger_epoch", *map(sa.column, ("run_id", "epoch", "step", "seconds", *METRICS))
        )
        sealed = sa.table(
            "ledger_sealed_epoch",
            *map(sa.column, ("run_id", "epoch", "test_loss", "test_accuracy")),
        )
        for n, number in enumerate(NUMBERS, start=1):
            place = {"run_id": 7, "epoch": n}
            values = dict.fromkeys(METRICS, number)
            connection.execute(
                sa.insert(epoch), [{**place, "step": 10 * n, "seconds": 0.1 * n, **values}]
            )
            connection.execute(
                sa.insert(sealed), [{**place, "test_loss": number, "test_accuracy": 0.5}]
            )
    return engine


def spec_of(engine: sa.Engine) -> object:
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT CAST(spec AS TEXT) FROM ledger_study").scalar()


def test_metrics_keep_their_bits_and_the_study_its_text(database: str, old: sa.Engine) -> None:
    with Ledger.open(database) as ledger:
        ledger.unseal(1, "a test")
        records = ledger.study_epochs(1, sealed=True)[7]
        trials = ledger.trials(1)
    assert [(trial.phase, trial.replicate, trial.told) for trial in trials] == [
        (Phase.TUNE, 0, True),
        (Phase.CONFIRM, 0, False),
    ]
    numbers = [math.nan if number is None else number for number in NUMBERS]
    for n, (record, number) in enumerate(zip(records, numbers, strict=True), start=1):
        assert (record.epoch, record.step, record.seconds) == (n, 10 * n, 0.1 * n)
        assert list(record.metrics) == list(METRICS)
        assert {value.hex() for value in record.metrics.values()} == {number.hex()}
        assert record.sealed["test_loss"].hex() == number.hex()
        assert record.sealed["test_accuracy"] == 0.5
    assert spec_of(old) == SPEC


def test_the_new_schema_is_the_declared_one_and_all_that_belongs_to_a_trial_is_kept(
    database: str, old: sa.Engine
) -> None:
    Ledger.open(database).close()
    with old.execution_options(writes=True).begin() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        indices = sa.inspect(connection).get_indexes("ledger_trial")
        assert "ix_ledger_trial_claim" in {index["name"] for index in indices}

        def count(table: str) -> object:
            return connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar()

        children = ("ledger_run", "ledger_event", "ledger_epoch", "ledger_sealed_epoch")
        assert [count(table) for table in children] == [1, 1, 8, 8]
        connection.exec_driver_sql("DELETE FROM ledger_trial WHERE id = 1")
        assert [count(table) for table in children] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("phase", "replicate", "allowed"),
    [
        ("tune", 0, False),
        ("tune", 1, True),
        ("match", 0, True),
        ("half", 0, True),
        ("other", 0, False),
    ],
)
def test_a_trial_is_one_of_its_arm_phase_and_replicate(
    database: str, old: sa.Engine, phase: str, replicate: int, allowed: bool
) -> None:
    Ledger.open(database).close()
    statement = (
        'INSERT INTO ledger_trial (id, study_id, arm_id, phase, replicate, "index", state, '
        f"attempts, told) SELECT 3, 1, 1, '{phase}', {replicate}, 0, 'waiting', 0, told "
        "FROM ledger_trial WHERE id = 2"
    )
    with old.execution_options(writes=True).connect() as connection:
        if allowed:
            assert connection.exec_driver_sql(statement).rowcount == 1
        else:
            with pytest.raises(sa.exc.IntegrityError):
                connection.exec_driver_sql(statement)


def test_the_way_back_gives_what_there_was(
    database: str, old: sa.Engine, migrate: Callable[..., None]
) -> None:
    def rows(table: str) -> list[dict[str, object]]:
        with old.connect() as connection:
            query = f"SELECT * FROM {table} ORDER BY 1, 2"
            return [dict(row) for row in connection.exec_driver_sql(query).mappings()]

    tables = ("ledger_trial", "ledger_epoch", "ledger_sealed_epoch", "ledger_run", "ledger_event")
    before = [rows(table) for table in tables]
    migrate("head")
    migrate("0003", command.downgrade)
    assert [rows(table) for table in tables] == before
    with pytest.raises(sa.exc.IntegrityError), old.execution_options(writes=True).begin() as it:
        it.exec_driver_sql("UPDATE ledger_trial SET phase = 'match'")
    with pytest.raises(indian_tune.errors.StorageError, match="older than this version's 0006"):
        LedgerReader.open(database)


def test_a_migration_that_fails_leaves_the_old_schema(
    database: str, old: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("", {}, Exception("no more"))

    monkeypatch.setattr("alembic.operations.BatchOperations.create_check_constraint", fail)
    with pytest.raises(indian_tune.errors.StorageError, match="no more"):
        Ledger.open(database)
    with old.connect() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("ledger_epoch")}
        assert set(METRICS) <= columns
        assert "metrics" not in columns
        count = connection.exec_driver_sql("SELECT COUNT(*) FROM ledger_epoch").scalar()
    assert count == len(NUMBERS)


def structure(engine: sa.Engine) -> dict[str, Any]:
    """What a database has, by table, whatever the order in which it was made."""
    inspector = sa.inspect(engine)

    def told(rows: Iterable[Any]) -> list[str]:
        return sorted(repr(sorted((key, str(value)) for key, value in row.items())) for row in rows)

    return {
        table: {
            "columns": told(inspector.get_columns(table)),
            "primary key": told([inspector.get_pk_constraint(table)]),
            "foreign keys": told(inspector.get_foreign_keys(table)),
            "unique": told(inspector.get_unique_constraints(table)),
            "checks": told(inspector.get_check_constraints(table)),
            "indices": told(inspector.get_indexes(table)),
        }
        for table in inspector.get_table_names()
    }


def test_an_empty_database_gets_the_schema_that_the_migrations_lead_to(
    database: str, engine: sa.Engine, migrate: Callable[..., None]
) -> None:
    migrate("head")
    migrated = structure(engine)
    with engine.execution_options(writes=True).begin() as connection:
        for table in (*reversed(metadata.sorted_tables), sa.table(VERSION_TABLE)):
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
    Ledger.open(database).close()
    assert migrated
    assert structure(engine) == migrated
