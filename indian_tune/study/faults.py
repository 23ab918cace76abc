"""Points between two writes at which tests crash on purpose."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

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
# While workers are submitted to Slurm.
AFTER_INTENT = "after-slurm-intent"
AFTER_SUBMIT = "after-slurm-submit"


def fault_point(name: str) -> None:
    """Die here, as by a power cut, when the environment names this place; else do nothing.

    The variable holds ``PLACE:FILE``. The one that makes the file dies, so that whoever takes its
    place does not, however soon it comes.
    """
    place, _, file = os.environ.get(VARIABLE, "").partition(":")
    if place != name:
        return
    with contextlib.suppress(FileExistsError):
        Path(file).touch(exist_ok=False)
        os.kill(os.getpid(), signal.SIGKILL)
