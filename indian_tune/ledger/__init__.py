"""The ledger: the authoritative SQL record.

What writes is looked up on first use: commands that only read start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names
from indian_tune.ledger.address import (
    DEFAULT_STORAGE,
    STORAGE_VARIABLE,
    command_line,
    needed_option,
    reached_only_here,
    show_url,
    sqlite_file,
    storage_url,
)
from indian_tune.ledger.connections import sqlite_settings
from indian_tune.ledger.mounts import file_system
from indian_tune.ledger.reader import LedgerReader
from indian_tune.ledger.records import (
    ArmPlan,
    ArmProgress,
    ArmRecord,
    EventRecord,
    Lease,
    Look,
    RunRecord,
    StudyRecord,
    TrialRecord,
    Winner,
    WorkerRecord,
)
from indian_tune.ledger.retry import transaction
from indian_tune.ledger.slots import EPOCH_TIMEOUT, EXTENDED, FROZEN, LEVELS, LOST, PACKED, STARTED
from indian_tune.ledger.states import FINISHED, Phase, State

if TYPE_CHECKING:
    from indian_tune.ledger.repository import MAX_ATTEMPTS, Ledger
    from indian_tune.ledger.workers import LEASE_SECONDS

__all__ = [
    "DEFAULT_STORAGE",
    "EPOCH_TIMEOUT",
    "EXTENDED",
    "FINISHED",
    "FROZEN",
    "LEASE_SECONDS",
    "LEVELS",
    "LOST",
    "MAX_ATTEMPTS",
    "PACKED",
    "STARTED",
    "STORAGE_VARIABLE",
    "ArmPlan",
    "ArmProgress",
    "ArmRecord",
    "EventRecord",
    "Lease",
    "Ledger",
    "LedgerReader",
    "Look",
    "Phase",
    "RunRecord",
    "State",
    "StudyRecord",
    "TrialRecord",
    "Winner",
    "WorkerRecord",
    "command_line",
    "file_system",
    "needed_option",
    "reached_only_here",
    "show_url",
    "sqlite_file",
    "sqlite_settings",
    "storage_url",
    "transaction",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "repository": ("MAX_ATTEMPTS", "Ledger"),
        "workers": ("LEASE_SECONDS",),
    },
)
