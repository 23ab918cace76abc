"""Times on a GPU that is not at hand: a model of counts, which can be tested without one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from indian_tune.errors import InputError
from indian_tune.planning.gpu_model import (
    BANDWIDTH_SHARE,
    GPUS,
    KERNEL_SECONDS,
    PRODUCTS_SHARE,
    estimate_on,
    get_gpu,
)
from indian_tune.planning.memory import blank_problem
from indian_tune.planning.timing import kind_of, run_of
from indian_tune.study.file.spec import parse_study
from indian_tune.training import Precision
from indian_tune.training.counting import Counts, PackCounter

if TYPE_CHECKING:
    from indian_tune.training import Run

COUNTED = Path(__file__).parents[1] / "training" / "launches.json"


def counter_of(tiny: dict[str, Any], precision: str = "float32") -> tuple[PackCounter, Run]:
    spec = parse_study(tiny, source="test")
    problem = blank_problem(spec, 2048)
    counter = PackCounter(problem, Precision(precision), augmented=False)  # type: ignore[arg-type]
    return counter, run_of(kind_of(spec, "indian"), "run")


def test_a_time_is_that_of_kernels_memory_and_products_at_their_shares() -> None:
    gpu = get_gpu("H100")
    assert gpu.seconds(Counts(10, 0, 0), "tf32") == pytest.approx(10 * KERNEL_SECONDS)
    moved = gpu.seconds(Counts(0, 3.35e12, 0), "tf32")
    assert moved == pytest.approx(1 / BANDWIDTH_SHARE)
    multiplied = gpu.seconds(Counts(0, 0, 989.5e12), "bfloat16")
    assert multiplied == pytest.approx(1 / PRODUCTS_SHARE["bfloat16"])
    # A program that starts kernels one by one hides what they do behind what it does.
    assert gpu.eager_seconds(Counts(10, 0, 0), "tf32") > gpu.seconds(Counts(10, 0, 0), "tf32")


@pytest.mark.slow
def test_a_pack_is_counted_as_the_stand_in_for_a_gpu_counts_it(tiny: dict[str, Any]) -> None:
    tiny["problem"] |= {"width": 1.0, "batch_size": 16, "dropout": 0.5}
    counter, run = counter_of(tiny)
    known = json.loads(COUNTED.read_text(encoding="utf-8"))
    for way in ("grouped", "matmul"):
        plain = known[f"nin-small, {way}, dropout 0, no crops, kernels"]
        crops = known[f"nin-small, {way}, dropout 0.5, crops, kernels"]
        step = counter.step(run, 8, way)
        assert step.flops == plain["flops"]
        assert plain["launches"] <= step.launches <= crops["launches"]
        assert plain["bytes"] <= step.bytes <= crops["bytes"]


@pytest.mark.slow
def test_the_counts_of_any_lanes_lie_on_the_line_through_two_and_four(tiny: dict[str, Any]) -> None:
    counter, run = counter_of(tiny)
    few, many, more = (counter.step(run, lanes, "matmul") for lanes in (2, 4, 16))
    line = few.plus(many.plus(few, -1), 7)
    assert (line.launches, line.flops) == (more.launches, more.flops)
    assert line.bytes == pytest.approx(more.bytes, rel=1e-3)


@pytest.mark.slow
def test_a_faster_gpu_takes_less_time_and_less_memory_holds_fewer_lanes(
    tiny: dict[str, Any],
) -> None:
    del tiny["arms"][1]
    spec = parse_study(tiny, source="test")
    a100, h100 = (estimate_on(spec, GPUS[name]) for name in ("A100", "H100"))
    assert a100.seconds > h100.seconds > 0
    (arm,) = h100.arms
    assert arm.step_seconds is not None
    assert arm.epoch_seconds is not None
    # Beside its steps, an epoch is measured.
    assert arm.epoch_seconds > 10 * arm.step_seconds
    assert arm.epochs_per_hour == pytest.approx(h100.lanes * 3600 / arm.epoch_seconds)
    assert h100.lanes > 1
    small = replace(GPUS["H100"], memory_bytes=2e7)
    assert estimate_on(spec, small).lanes < h100.lanes
    with pytest.raises(InputError, match=r"--assume-gpu H100: 1 lane of every kind"):
        estimate_on(spec, replace(small, memory_bytes=1e5))


@pytest.mark.slow
def test_an_arm_that_cannot_be_packed_has_no_figure_and_says_why(tiny: dict[str, Any]) -> None:
    tiny["arms"][1] |= {"name": "muon", "optimizer": "muon"}
    found = estimate_on(parse_study(tiny, source="test"), GPUS["H100"])
    first, second = found.arms
    assert first.fault is None
    assert second.step_seconds is None
    assert second.fault is not None
    assert "trained one by one" in second.fault


def test_nothing_is_computed_and_no_gpu_is_touched(tiny: dict[str, Any]) -> None:
    counter, run = counter_of(tiny, "bfloat16")
    before = torch.random.get_rng_state()
    counts, inputs = counter.evaluation(run, 4, "grouped")
    assert counts.launches > 0
    assert inputs == 512
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def test_a_gpu_without_published_figures_is_refused_with_the_list() -> None:
    with pytest.raises(
        InputError, match=r"--assume-gpu = 'B300' is not known\. Allowed: A100, H100, H200"
    ):
        get_gpu("B300")
