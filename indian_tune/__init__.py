"""Tunes the INDIAN optimizer and its rivals, and tests whether tuning (α, β) regularizes.

The main jobs are functions: :func:`search`, :func:`register`, :func:`plan`, :func:`status`,
:func:`analyze`, :func:`compare`, :func:`replay` and :func:`open_study`. Names are looked up on
first use so that ``import indian_tune`` stays light (the command line must not pay for torch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune._version import __version__
from indian_tune.lazy import lazy_names

if TYPE_CHECKING:
    from indian_tune.optim import Indian, Innaprop
    from indian_tune.problems import Loop, Problem, Split
    from indian_tune.service import (
        Arm,
        Results,
        Study,
        analyze,
        compare,
        open_study,
        plan,
        register,
        replay,
        search,
        status,
    )
    from indian_tune.study.file.space import Choices, Grid, Range

__all__ = [
    "Arm",
    "Choices",
    "Grid",
    "Indian",
    "Innaprop",
    "Loop",
    "Problem",
    "Range",
    "Results",
    "Split",
    "Study",
    "__version__",
    "analyze",
    "compare",
    "open_study",
    "plan",
    "register",
    "replay",
    "search",
    "status",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "optim.indian": ("Indian",),
        "optim.innaprop": ("Innaprop",),
        "problems": ("Loop", "Problem", "Split"),
        "service": (
            "Arm",
            "Results",
            "Study",
            "analyze",
            "compare",
            "open_study",
            "plan",
            "register",
            "replay",
            "search",
            "status",
        ),
        "study.file.space": ("Choices", "Grid", "Range"),
    },
)
