"""Commands for copying: complete, quoted for a shell, and without passwords."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from indian_tune.text import ADDRESS_HINT

# What is between the name of a user and the last @: a password may hold an @ by mistake.
_PASSWORD = re.compile(r"(://[^:/@]*):.*@")
_IN_QUERY = re.compile(r"([?&])(?:ssl)?password=[^&]*(&|$)")


@dataclass(frozen=True)
class Command:
    """A command to be copied: complete, quoted for a shell, and without passwords.

    Attributes:
        words: of it.
        incomplete: whether a password was left out.
    """

    words: tuple[str, ...]
    incomplete: bool = False

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def line(self) -> str:
        """The command on a line of its own, with what its user must add below."""
        return f"  {self}" + self.incomplete * f"\n  {ADDRESS_HINT}"


def other_command(*words: str, storage: str | None) -> Command:
    """Return another command about the same database.

    Args:
        *words: of it, from its name on.
        storage: as ``--storage`` was given.
    """
    if storage is None:
        return Command(("indian-tune", *words))
    shown = without_password(storage)
    return Command(("indian-tune", *words, "--storage", shown), shown != storage)


def recorded_command(recorded: str, *options: str, storage: str | None) -> Command:
    """Return a command that is in the record, with more options.

    Args:
        recorded: as a text.
        *options: to add.
        storage: as ``--storage`` was given.
    """
    incomplete = storage is not None and without_password(storage) != storage
    return Command((*shlex.split(recorded), *options), incomplete)


def without_password(address: str) -> str:
    """Return an address without its password; any other text as it is."""
    if "://" not in address:
        return address
    shown = _PASSWORD.sub(r"\1@", address)
    for _ in range(2):
        # What follows keeps the mark of what came first.
        shown = _IN_QUERY.sub(lambda match: match[1] if match[2] else "", shown)
    return shown
