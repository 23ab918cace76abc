"""What a study will cost and can show, before anything runs."""

from __future__ import annotations

from indian_tune.planning.cautions import prospects, warnings
from indian_tune.planning.cost import Cost, Estimate, estimate
from indian_tune.planning.memory import count_bytes
from indian_tune.planning.plan import Memory, Plan, make_plan
from indian_tune.planning.workload import Work, workload

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
    "workload",
]
