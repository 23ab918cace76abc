"""The ledger's tables (SQLAlchemy Core).

Every table is prefixed ``ledger_`` because Optuna's own tables (``studies``, ``trials``, …) live
in the same database. The unique constraints carry the rules: one trial per (arm, phase, replicate,
index), one run per (trial, seed), one epoch per (run, epoch).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from indian_tune.ledger.states import Phase, State
from indian_tune.text import storable

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect

PREFIX = "ledger_"
VERSION_TABLE = "ledger_version"
# Alembic's newest revision, repeated here so that reading commands need not import Alembic; a
# test holds the two together.
HEAD_REVISION = "0006"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite keeps no zone, so it is put back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class StorableText(TypeDecorator[str]):
    """A text that others may have written, such as an exception's message."""

    impl: type[String] = Text
    cache_ok = True
    most = 100_000

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Store what every database can hold."""
        return None if value is None else storable(value, self.most)


class Name(StorableText):
    """A text of limited length, such as the name of a host; for every column but those of lists."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.most = length


def _one_of(column: str, values: type[State] | type[Phase]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


study = Table(
    "ledger_study",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Name(200), nullable=False, unique=True),
    # The whole validated study file, canonical; its hash is what registration means.
    Column("spec", JSON, nullable=False),
    Column("spec_hash", Name(64), nullable=False),
    Column("version", Name(40), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Where it was registered; unknown for studies that are older than the column.
    Column("host", Name(255)),
)

arm = Table(
    "ledger_arm",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("ledger_study.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", Name(200), nullable=False),
    Column("optimizer", Name(200), nullable=False),
    UniqueConstraint("study_id", "name"),
    UniqueConstraint("study_id", "position"),
)

trial = Table(
    "ledger_trial",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("ledger_study.id", ondelete="CASCADE"), nullable=False),
    Column("arm_id", ForeignKey("ledger_arm.id", ondelete="CASCADE"), nullable=False),
    Column("phase", String(20), nullable=False),
    # Which search of the arm, from 0: each has seeds of its own.
    Column("replicate", Integer, nullable=False, server_default="0"),
    Column("index", Integer, nullable=False),
    # Which freezing of the winners made a trial of a later phase, from 1; 0 in the tune phase.
    Column("freezing", Integer, nullable=False, server_default="0"),
    Column("state", String(20), nullable=False),
    Column("config", JSON(none_as_null=True)),
    # Score under the study's objective; lower is better.
    Column("value", Double),
    # Scores under all objectives of a study that has several, the first one included.
    Column("values", JSON(none_as_null=True)),
    Column("attempts", Integer, nullable=False, default=0),
    Column("reason", StorableText),
    # Not a foreign key: Optuna's tables are a projection that can be dropped and rebuilt.
    Column("optuna_trial_id", Integer),
    # Whether Optuna has been told the outcome.
    Column("told", Boolean, nullable=False, default=False),
    # Who works on it, or did last.
    Column("worker_id", ForeignKey("ledger_worker.id", ondelete="SET NULL")),
    # Stays when the lease ends, so that a repeated report can be told from a late one.
    Column("lease_token", Name(32)),
    Column("lease_expires_at", UtcDateTime),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("arm_id", "phase", "replicate", "index"),
    _one_of("phase", Phase),
    _one_of("state", State),
    # What a claim looks for, in the order in which it looks.
    Index("ix_ledger_trial_claim", "study_id", "phase", "state", "replicate", "index"),
)

run = Table(
    "ledger_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial_id", ForeignKey("ledger_trial.id", ondelete="CASCADE"), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("epochs_planned", Integer, nullable=False),
    Column("epochs_done", Integer, nullable=False, default=0),
    # Device, versions, precision and thread count of the last worker that trained it.
    Column("provenance", JSON(none_as_null=True)),
    # The traceback of the last attempt that broke.
    Column("error", StorableText),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("trial_id", "seed"),
    _one_of("state", State),
)

epoch = Table(
    "ledger_epoch",
    metadata,
    Column("run_id", ForeignKey("ledger_run.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("step", Integer, nullable=False),
    # Name → value. JSON keeps every bit of a number; null stands for one that was not finite.
    Column("metrics", JSON, nullable=False),
    Column("seconds", Double, nullable=False),
)

# A table of its own, so that no query on epochs can reveal the test set by accident.
sealed_epoch = Table(
    "ledger_sealed_epoch",
    metadata,
    Column("run_id", ForeignKey("ledger_run.id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("metrics", JSON, nullable=False),
)

# Which test images a run classifies correctly at its end.
sealed_example = Table(
    "ledger_sealed_example",
    metadata,
    Column("run_id", ForeignKey("ledger_run.id", ondelete="CASCADE"), primary_key=True),
    Column("images", Integer, nullable=False),
    # Packed bits, first example first, big-endian; the last byte is filled up with zeros.
    Column("correct", LargeBinary, nullable=False),
)

worker = Table(
    "ledger_worker",
    metadata,
    Column("id", Name(32), primary_key=True),
    Column("study_id", ForeignKey("ledger_study.id", ondelete="CASCADE"), nullable=False),
    Column("host", Name(255), nullable=False),
    Column("pid", Integer, nullable=False),
    # A process id comes round again; with its start time it does not.
    Column("process_started", Name(64), nullable=False),
    Column("device", Name(100), nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("left_at", UtcDateTime),
)

event = Table(
    "ledger_event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("ledger_study.id", ondelete="CASCADE"), nullable=False),
    Column("trial_id", ForeignKey("ledger_trial.id", ondelete="CASCADE")),
    Column("kind", Name(40), nullable=False),
    Column("data", JSON, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_ledger_event_study_id_kind", "study_id", "kind"),
)

# Claims about runs that are trained elsewhere, fixed before these exist: they have no study.
registration = Table(
    "ledger_registration",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", Name(64), nullable=False, unique=True),
    Column("claims", JSON, nullable=False),
    Column("version", Name(40), nullable=False),
    Column("registered_at", UtcDateTime, nullable=False),
)
