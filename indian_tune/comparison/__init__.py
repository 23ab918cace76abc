"""Is the difference of two arms real? Runs from any source, compared.

All is looked up on first use: it loads NumPy, pandas and SciPy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indian_tune.comparison.comparison import Comparison, compare_runs
    from indian_tune.comparison.runs import Runs, runs_of
    from indian_tune.comparison.several import Many, compare_many

__all__ = ["Comparison", "Many", "Runs", "compare_many", "compare_runs", "runs_of"]

_MODULES = {
    "comparison": ("Comparison", "compare_runs"),
    "runs": ("Runs", "runs_of"),
    "several": ("Many", "compare_many"),
}
_LATER = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
