"""The parts of a study that a search can be told to work on."""

from __future__ import annotations

from enum import StrEnum

from indian_tune.errors import InputError, unknown_name


class PhaseName(StrEnum):
    """Which part of a study to work on."""

    ALL = "all"
    TUNE = "tune"
    FREEZE = "freeze"
    MATCH = "match"
    CONFIRM = "confirm"

    @classmethod
    def named(cls, name: str) -> PhaseName:
        """Return the part of that name.

        Raises:
            InputError: there is none.
        """
        if name not in list(cls):
            raise InputError(unknown_name("phase", name, list(cls)))
        return cls(name)
