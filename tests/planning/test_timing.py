"""How the speed of a GPU is measured, tested without one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.engines import runs
from indian_tune.planning import timing
from indian_tune.problems import Loop
from indian_tune.study.file.spec import parse_study
from indian_tune.training import Packing, Trainer

if TYPE_CHECKING:
    import pytest

    from indian_tune.problems import Problem

LANES = 3


def test_on_a_gpu_packs_are_timed_and_its_statistics_are_left_alone_until_it_is_in_use(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[Trainer] = []
    packings: list[Packing] = []

    def trainer_of(
        spec: object, problem: Problem, device: str, checkpoints: object, packing: Packing
    ) -> Trainer:
        assert device == "cuda:0"
        packings.append(packing)
        shape = replace(packing, lanes=LANES, convolutions="matmul", execution="stacked")
        trainers.append(Trainer(problem, packing=shape))
        return trainers[-1]

    def in_use(_device: object = None) -> int:
        # torch refuses it before; and what the probe has held must not count.
        assert len(trainers) == 1
        return 1 << 30

    monkeypatch.setattr(runs, "trainer_of", trainer_of)
    for name in ("empty_cache", "reset_peak_memory_stats", "max_memory_reserved"):
        monkeypatch.setattr(torch.cuda, name, in_use)
    monkeypatch.setattr(timing, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(timing, "GPU_STEPS", 4)
    spec = parse_study(tiny, source="test")
    problem = runs.problem_of(spec, None)
    assert not isinstance(problem, Loop)
    speed = timing._speed(spec, problem, timing.kind_of(spec, "indian"), "cuda:0")
    # The shape is looked for once, as a search does, and is that of both measurements.
    assert packings == [Packing(None), Packing(LANES, "matmul")]
    assert [len(trainer._runs) for trainer in trainers] == [LANES, LANES]
    assert speed.step_seconds > 0
    assert speed.device_bytes is not None
    assert speed.device_bytes >= 1 << 30
