"""How the speed of a GPU is measured, tested without one."""

from __future__ import annotations

import os
from dataclasses import replace
from threading import Barrier
from typing import TYPE_CHECKING, Any

import torch

from indian_tune.engines import runs
from indian_tune.planning import timing
from indian_tune.problems import Loop
from indian_tune.study.file.spec import parse_study
from indian_tune.training import Packing, Trainer
from tests.engines.test_devices import SLICED

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from indian_tune.problems import Problem

LANES = 3
VISIBLE = "CUDA_VISIBLE_DEVICES"


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


def test_a_timing_process_sees_its_own_slice_of_a_gpu_alone(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{SLICED}\nEND\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    spec = parse_study(tiny, source="test")
    seen: list[str] = []
    monkeypatch.setattr(timing, "_barrier", Barrier(1))
    monkeypatch.setattr(
        timing, "_speed", lambda *told: seen.append(f"{os.environ[VISIBLE]} {told[-1]}")
    )
    # Set first, so that it is put back.
    monkeypatch.setenv(VISIBLE, "")
    for number in range(3):
        monkeypatch.delenv(VISIBLE)
        kinds = [timing.kind_of(spec, "indian")]
        timing._measure(spec.canonical(), kinds, f"cuda:{number}", None, 1, None, None)
    assert seen == ["MIG-b cuda:0", "MIG-c cuda:0", "1 cuda:0"]
