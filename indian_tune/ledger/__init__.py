"""The ledger: the SQL record that is the only truth."""

from indian_tune.ledger.database import (
    DEFAULT_STORAGE,
    STORAGE_VARIABLE,
    show_url,
    sqlite_file,
    sqlite_settings,
    storage_url,
)
from indian_tune.ledger.reader import LedgerReader
from indian_tune.ledger.records import (
    ArmPlan,
    ArmProgress,
    ArmRecord,
    EpochEntry,
    EpochRow,
    EventRecord,
    Lease,
    RunRecord,
    StudyRecord,
    TrialRecord,
    Winner,
    WorkerRecord,
)
from indian_tune.ledger.repository import LEASE_SECONDS, MAX_ATTEMPTS, Ledger
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.states import FINISHED, Phase, State

__all__ = [
    "DEFAULT_STORAGE",
    "FINISHED",
    "LEASE_SECONDS",
    "MAX_ATTEMPTS",
    "STORAGE_VARIABLE",
    "ArmPlan",
    "ArmProgress",
    "ArmRecord",
    "EpochEntry",
    "EpochRow",
    "EventRecord",
    "Lease",
    "Ledger",
    "LedgerReader",
    "Phase",
    "RunRecord",
    "State",
    "StudyRecord",
    "TrialRecord",
    "Winner",
    "WorkerRecord",
    "show_url",
    "sqlite_file",
    "sqlite_settings",
    "storage_url",
    "transaction",
]
