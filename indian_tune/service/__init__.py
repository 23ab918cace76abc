"""The main jobs as functions: what the command line parses, calls and prints, and Python calls.

All is looked up on first use: most of it loads the ledger and Optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names

if TYPE_CHECKING:
    from indian_tune.service.asking import register
    from indian_tune.service.comparing import compare
    from indian_tune.service.python import Results, analyze, open_study, plan, search, status
    from indian_tune.service.replaying import replay
    from indian_tune.service.studies import Arm, Study

__all__ = [
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
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "asking": ("register",),
        "comparing": ("compare",),
        "python": ("Results", "analyze", "open_study", "plan", "search", "status"),
        "replaying": ("replay",),
        "studies": ("Arm", "Study"),
    },
)
