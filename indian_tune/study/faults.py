"""Places between two writes where a crash hurts most, for the tests that crash there."""

from __future__ import annotations

import os
import signal

VARIABLE = "INDIAN_TUNE_FAULT"

AFTER_CLAIM = "after-claim"
AFTER_ASK = "after-optuna-ask"
AFTER_BEGIN = "after-begin"
AFTER_EPOCH = "after-ledger-epoch"
AFTER_REPORT = "after-optuna-report"
AFTER_FINISH = "after-ledger-finish"
AFTER_TELL = "after-optuna-tell"
AFTER_FREEZE = "after-freeze"
FAULTS = (
    *(AFTER_CLAIM, AFTER_ASK, AFTER_BEGIN, AFTER_EPOCH, AFTER_REPORT, AFTER_FINISH, AFTER_TELL),
    AFTER_FREEZE,
)


def fault_point(name: str) -> None:
    """Die here, as by a power cut, when the environment names this place; else do nothing."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
