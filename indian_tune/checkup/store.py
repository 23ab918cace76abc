"""The disks that a study writes to, and the data sets that it reads."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from indian_tune.checkup.check import CheckResult, Level, gib
from indian_tune.errors import DataError
from indian_tune.ledger import sqlite_file
from indian_tune.problems import DATASETS, data_folder, verify
from indian_tune.problems.verification import DataState

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import URL

# Checkpoints of a published network take 8 MB a run, the largest data set 340 MB with its archive.
LITTLE = 2**30
NOTHING = 50 * 2**20


def check_disks(storage: URL, artifacts: Path, data_dir: Path | None) -> list[CheckResult]:
    """Check the disks of the database, the checkpoints and the data sets."""
    folders = {"checkpoints": artifacts, "data": data_folder(data_dir)}
    file = sqlite_file(storage)
    if file is not None:
        folders = {"database": file.absolute().parent, **folders}
    return [_check_disk(f"disk: {name}", folder) for name, folder in folders.items()]


def _check_disk(name: str, folder: Path) -> CheckResult:
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return CheckResult(
            name, Level.FAIL, f"{there} cannot be read: {error.strerror}", "name another"
        )
    text = f"{gib(free)} free at {folder}"
    # Data sets may lie where an administrator has put them; all else is written.
    if name != "disk: data" and not os.access(there, os.W_OK):
        return CheckResult(
            name,
            Level.FAIL,
            f"{there} is not writable",
            "change its permissions, or choose another folder with --storage or --artifacts",
        )
    if free < LITTLE:
        level = Level.FAIL if free < NOTHING else Level.WARN
        return CheckResult(name, level, text, "free disk space, or choose a folder on another disk")
    return CheckResult(name, Level.OK, text)


def check_data(data_dir: Path | None) -> CheckResult:
    """Return which data sets are there; their checksums are not compared."""
    try:
        statuses = [verify(info, data_dir, checksums=False) for info in DATASETS.values()]
    except DataError as error:
        return CheckResult("data sets", Level.FAIL, str(error), "choose another with --data-dir")
    damaged = [status for status in statuses if status.state is DataState.DAMAGED]
    if damaged:
        return CheckResult(
            "data sets",
            Level.FAIL,
            "; ".join(detail for status in damaged for detail in status.details),
            "; ".join(f"run `{status.fetch_command}`" for status in damaged),
        )
    here = ", ".join(status.name for status in statuses if status.usable)
    absent = ", ".join(status.name for status in statuses if not status.usable)
    text = f"{here} here" + (f"; {absent} not downloaded yet" if absent else "")
    fix = "`indian-tune data fetch NAME` before a study that needs one" if absent else ""
    return CheckResult("data sets", Level.OK, text, fix)
