"""A study: its file, its registration, and the decisions that make it a record.

All is looked up on first use: the sections of a file load pydantic, and a controller Optuna.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indian_tune.study.assignment import Assignment, RunningTrial
    from indian_tune.study.completion import Completion
    from indian_tune.study.controller import Controller, Decision
    from indian_tune.study.file.spec import StudySpec, load_study, parse_study
    from indian_tune.study.ranking import ArmResult, dynamics_of, rank
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.study.registration import extend, extend_space, register, renamed
    from indian_tune.study.registration_check import check_finished, departures

__all__ = [
    "ArmResult",
    "Assignment",
    "Completion",
    "Controller",
    "Decision",
    "RegisteredStudy",
    "RunningTrial",
    "StudySpec",
    "check_finished",
    "departures",
    "dynamics_of",
    "extend",
    "extend_space",
    "load_study",
    "parse_study",
    "rank",
    "register",
    "renamed",
]

_MODULES = {
    "assignment": ("Assignment", "RunningTrial"),
    "completion": ("Completion",),
    "controller": ("Controller", "Decision"),
    "file.spec": ("StudySpec", "load_study", "parse_study"),
    "ranking": ("ArmResult", "dynamics_of", "rank"),
    "registered_study": ("RegisteredStudy",),
    "registration": ("extend", "extend_space", "register", "renamed"),
    "registration_check": ("check_finished", "departures"),
}
_LATER = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
