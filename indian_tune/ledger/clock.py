"""The clock of an SQLite file, by which leases end: never set back while its host runs.

The time since the boot cannot be set. Two numbers of the file's header, which SQLite leaves to
applications, hold the boot that the file was last used in and the time of that boot, by the host's
clock when it was furthest ahead: every process of the host counts from there. A file without them,
of another host, or of an earlier boot begins with the clock that it finds.
"""

from __future__ import annotations

import functools
import math
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A clock is taken to have been set forward from here on; closer is rounding and drift.
_AHEAD_SECONDS = 2.0
# One statement, as it is asked for in every transaction.
_KEPT = "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version"
# The header's numbers have 32 bits: they count from 2020.
_EPOCH = 1_577_836_800


def steady_time(connection: sa.Connection) -> float:
    """Return the seconds since 1970 by the clock of an SQLite file.

    Args:
        connection: in a transaction; one that writes keeps the clock for the others.
    """
    now = time.time()
    boot = boot_mark()
    if boot is None:
        return now
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    mark, booted_at = connection.exec_driver_sql(_KEPT).one()
    kept = float(_EPOCH + booted_at + since_boot)
    if mark == boot and now < kept + _AHEAD_SECONDS:
        return kept
    booted = math.ceil(now - since_boot)
    if connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql(f"PRAGMA application_id={boot}")
        connection.exec_driver_sql(f"PRAGMA user_version={booted - _EPOCH}")
        return booted + since_boot
    return now


@functools.cache
def boot_mark() -> int | None:
    """Return a number of the host's present boot; ``None`` where the system does not tell."""
    try:
        boot = _BOOT_ID.read_bytes()
    except OSError:
        return None
    # Positive, and not what an unused header holds.
    return (zlib.crc32(boot) >> 1) or 1
