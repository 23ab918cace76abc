"""Time limits of Slurm, and how long before the limit a worker is told to stop."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from indian_tune.errors import InputError
from indian_tune.text import counted

# https://slurm.schedmd.com/sbatch.html: Slurm looks at time limits once in a while, and may send
# its signal this much earlier than it was asked to.
EARLY_SECONDS = 60
# What a worker has at least to end its epoch and to write a checkpoint.
LEAST_NOTICE = 120
# What a worker is given at least between its start and its notice.
LEAST_WORK = 60
# A shorter limit without hours may have been meant as one of hours.
DOUBTFUL = 600

_DAYS = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?", re.ASCII)
_HOURS = re.compile(r"(\d+):(\d+):(\d+)", re.ASCII)
_MINUTES = re.compile(r"(\d+)(?::(\d+))?", re.ASCII)


def limit_seconds(text: str) -> int | None:
    """Return the seconds of a time limit; ``None`` if it is none.

    Args:
        text: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes or
            days-hours:minutes:seconds.
    """
    if match := _DAYS.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    elif match := _HOURS.fullmatch(text):
        days, (hours, minutes, seconds) = 0, map(int, match.groups())
    elif match := _MINUTES.fullmatch(text):
        days, hours, (minutes, seconds) = 0, 0, (int(part or 0) for part in match.groups())
    else:
        return None
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def notice_seconds(text: str, longest_epoch: float) -> int:
    """Return how long before its time limit a worker is told to leave.

    Args:
        text: the time limit.
        longest_epoch: seconds of the longest epoch that the study has recorded; 0 if there is none.

    Raises:
        InputError: the limit cannot be read, or leaves no time for an epoch.
    """
    seconds = limit_seconds(text)
    if seconds is None:
        raise InputError(
            f"--time = {text!r} is not a time limit: write minutes, hours:minutes:seconds or "
            "days-hours:minutes:seconds, such as 90, 4:00:00 or 2-00:00:00"
        )
    notice = max(LEAST_NOTICE, math.ceil(2 * longest_epoch))
    least = notice + EARLY_SECONDS + max(LEAST_WORK, math.ceil(longest_epoch))
    if seconds < least:
        epoch = f"the longest epoch of the study took {longest_epoch:.0f} s, so "
        raise InputError(
            f"--time = {text!r} is too short: {epoch if longest_epoch >= 1 else ''}a worker is "
            f"told to stop {notice} s before the limit, or up to {EARLY_SECONDS} s earlier. Give "
            f"at least {shown(least)}{'; ' * bool(read := short_limit(text))}{read}"
        )
    return notice


def short_limit(text: str) -> str:
    """Return how a limit without hours was read, where it is so short that hours may be meant.

    Returns:
        Such as ``4:00 is 4 minutes; 4 hours is 4:00:00``; empty where there is no doubt.
    """
    match = _MINUTES.fullmatch(text)
    seconds = limit_seconds(text)
    if match is None or not seconds or seconds >= DOUBTFUL:
        return ""
    large, small = int(match[1]), int(match[2] or 0)

    def words(one: str, other: str) -> str:
        parts = [counted(large, one)] * bool(large) + [counted(small, other)] * bool(small)
        return " ".join(parts)

    meant = words("hour", "minute")
    return f"{text} is {words('minute', 'second')}; {meant} is {large}:{small:02}:00"


def shown(seconds: int) -> str:
    """Return a time limit of whole minutes that is at least so long."""
    return (
        str(timedelta(minutes=math.ceil(seconds / 60)))
        .replace(" day, ", "-")
        .replace(" days, ", "-")
    )
