"""The parts of a study that a search can be told to work on."""

from __future__ import annotations

from enum import StrEnum


class PhaseName(StrEnum):
    """Which part of a study to work on."""

    ALL = "all"
    TUNE = "tune"
    FREEZE = "freeze"
    MATCH = "match"
    CONFIRM = "confirm"
