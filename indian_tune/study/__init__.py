"""A study: its file, its registration, and the decisions that make it a record.

All is looked up on first use: the sections of a file load pydantic, and a controller Optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "assignment": ("Assignment", "RunningTrial"),
        "completion": ("Completion",),
        "controller": ("Controller", "Decision"),
        "file.spec": ("StudySpec", "load_study", "parse_study"),
        "ranking": ("ArmResult", "dynamics_of", "rank"),
        "registered_study": ("RegisteredStudy",),
        "registration": ("extend", "extend_space", "register", "renamed"),
        "registration_check": ("check_finished", "departures"),
    },
)
