from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import numpy as np

from indian_tune.planning import make_plan
from indian_tune.planning.plan import NOT_ASKED
from indian_tune.study import parse_study
from tests.conftest import ROOT
from tests.searches import Setting, searched_frame, searches

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


def test_gates_that_the_pilot_does_not_pass_are_told() -> None:
    named = {
        "full": "indian",
        "rate": "indian-rate",
        "control": "sgd-matched",
        "full-usual": "indian-usual",
    }
    raw = tomllib.loads((ROOT / "studies" / "isolate-digits.toml").read_text())
    setting = Setting(replicates=2, trials=4, seeds=2, usual=0.015)
    frame = searched_frame(searches(setting, np.random.default_rng(1)), epochs=2)
    frame["arm"] = frame["arm"].replace(named)

    def told(delta: float) -> list[str]:
        claims = {**raw["claims"], "delta": delta}
        spec = parse_study({**raw, "claims": claims}, source="test")
        plan = make_plan(spec, ["cpu"], sd=None, pilot="earlier", runs=frame, timing=False)
        return [warning for warning in plan.warnings() if "in pilot earlier" in warning]

    assert told(0.001) == []
    (assay,) = told(0.03)
    assert "dropout and weight decay gain SGD +2.55 points" in assay
    assert "less than δ = 3 points: the gate “assay” would withhold REFUTED" in assay
    overfit, _ = told(0.06)
    assert "less than 2δ = 12 points: the gate “range” would withhold every verdict" in overfit
