from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.planning import make_plan
from indian_tune.planning.plan import NOT_ASKED
from indian_tune.study import parse_study

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_timed_unless_it_is_wished_and_the_data_set_is_there(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    timed: list[str] = []
    spec = parse_study(tiny, source="test")
    plan = make_plan(spec, ["cpu"], sd=0.01, timing=False, on_timing=lambda: timed.append("digits"))
    assert (plan.estimate, plan.memory, plan.not_timed) == (None, None, NOT_ASKED)
    assert plan.as_dict()["power"]["assumed"]
    tiny["problem"] = {"dataset": "mnist", "model": "nin"}
    spec = parse_study(tiny, source="test")
    plan = make_plan(
        spec, ["cpu"], sd=0.01, data_dir=tmp_path, on_timing=lambda: timed.append("mnist")
    )
    assert plan.estimate is None
    assert "mnist" in plan.warnings()[0]
    assert plan.memory is not None
    assert timed == []
