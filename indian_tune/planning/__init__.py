"""What a study will cost and what it can show, before anything runs."""

from __future__ import annotations

from indian_tune.planning.cautions import prospects, warnings
from indian_tune.planning.plan import Memory, Plan, make_plan

__all__ = ["Memory", "Plan", "make_plan", "prospects", "warnings"]
