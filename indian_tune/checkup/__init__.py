"""Whether this machine can do the work: software, hardware, disks, data and Ray.

What is heavy is imported by the check that needs it, and what fails to import is a finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.checkup.check import CheckResult, Level
from indian_tune.checkup.cluster import check_ray
from indian_tune.checkup.database import check_database, check_empty_database, check_new_database
from indian_tune.checkup.hardware import check_hardware
from indian_tune.checkup.software import check_software
from indian_tune.checkup.store import check_data, check_disks

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import URL

__all__ = [
    "CheckResult",
    "Level",
    "check_database",
    "check_empty_database",
    "check_machine",
    "check_new_database",
]


def check_machine(
    storage: URL, artifacts: Path, data_dir: Path | None, ray_address: str | None
) -> list[CheckResult]:
    """Examine everything but the database itself; takes a few seconds.

    Args:
        storage: address of the database, whose disk is looked at.
        artifacts: folder of the checkpoints.
        data_dir: folder of the data sets; ``None`` for the default.
        ray_address: of a cluster to be reached; ``None`` only looks whether Ray is installed.
    """
    return [
        *check_software(),
        *check_hardware(),
        *check_ray(ray_address),
        *check_disks(storage, artifacts, data_dir),
        check_data(data_dir),
    ]
