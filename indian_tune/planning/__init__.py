"""What a study will cost and can show, before anything runs.

What times or counts steps is looked up on first use: it loads Optuna, and torch when it is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from indian_tune.planning.cautions import prospects, warnings
from indian_tune.planning.plan import Memory, Plan, make_plan
from indian_tune.planning.workload import Work

if TYPE_CHECKING:
    from indian_tune.planning.cost import Cost, Estimate, estimate
    from indian_tune.planning.memory import count_bytes

__all__ = [
    "Cost",
    "Estimate",
    "Memory",
    "Plan",
    "Work",
    "count_bytes",
    "estimate",
    "make_plan",
    "prospects",
    "warnings",
]

_LATER = {"Cost": "cost", "Estimate": "cost", "count_bytes": "memory", "estimate": "cost"}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
