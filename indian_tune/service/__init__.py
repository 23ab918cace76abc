"""The main jobs as functions: what the command line parses, calls and prints, and Python calls.

All is looked up on first use: most of it loads the ledger and Optuna.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

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

_MODULES = {
    "Arm": "studies",
    "Study": "studies",
    "compare": "comparing",
    "register": "asking",
    "replay": "replaying",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name, "python")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
