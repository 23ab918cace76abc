"""Is the difference of two arms real? Runs from any source, compared.

All is looked up on first use: it loads NumPy, pandas and SciPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names

if TYPE_CHECKING:
    from indian_tune.comparison.comparison import Comparison, compare_runs
    from indian_tune.comparison.runs import Runs, runs_of
    from indian_tune.comparison.several import Many, compare_many

__all__ = ["Comparison", "Many", "Runs", "compare_many", "compare_runs", "runs_of"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "comparison": ("Comparison", "compare_runs"),
        "runs": ("Runs", "runs_of"),
        "several": ("Many", "compare_many"),
    },
)
