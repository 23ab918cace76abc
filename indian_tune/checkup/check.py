"""One check and its result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class CheckResult:
    """One line of an examination.

    Attributes:
        name: what was looked at.
        level: whether studies can run (``ok``), run worse than they could (``warn``), or cannot
            (``fail``).
        text: what was found.
        fix: what to do about it; empty where nothing is to be done.
    """

    name: str
    level: Level
    text: str
    fix: str = ""


def gib(count: float) -> str:
    """Return a number of bytes in GiB, or in MiB where that is less than one."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
