from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from indian_tune.errors import InputError
from indian_tune.training import Packing, PackShape, Precision, Trainer, probe
from indian_tune.training.feed import Feed
from indian_tune.training.live import Setup
from indian_tune.training.pack import Pack
from indian_tune.training.probe import DEFAULT, MOST_LANES, choose, signatures_of
from indian_tune.training.stacked_forward import CONVOLUTIONS, convolves

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.problems.problem import Problem


def device(
    *, free: int, memory: int = 1000, slower: str = "grouped"
) -> Callable[[PackShape], float]:
    """A device on which ``free`` lanes cost no more than one, and ``memory`` lanes fit."""

    def seconds(shape: PackShape) -> float:
        if shape.lanes > memory:
            raise torch.OutOfMemoryError
        return max(1.0, shape.lanes / free) * (2.0 if shape.convolutions == slower else 1.0)

    return seconds


def test_lanes_are_doubled_until_that_brings_nothing() -> None:
    assert choose(device(free=8), CONVOLUTIONS) == PackShape(8, "matmul")
    assert choose(device(free=1), CONVOLUTIONS) == PackShape(1, "matmul")
    assert choose(device(free=10**6), CONVOLUTIONS) == PackShape(MOST_LANES, "matmul")


def test_lanes_are_doubled_until_the_memory_does_not_suffice() -> None:
    assert choose(device(free=32, memory=4), CONVOLUTIONS) == PackShape(4, "matmul")
    with pytest.raises(torch.OutOfMemoryError):
        choose(device(free=1, memory=0), CONVOLUTIONS)


def test_the_faster_way_to_convolve_is_taken() -> None:
    assert choose(device(free=8, slower="matmul"), CONVOLUTIONS) == PackShape(8, "grouped")
    assert choose(device(free=8), ["grouped"]) == PackShape(8, "grouped")


def test_a_number_of_lanes_that_is_given_stays() -> None:
    assert choose(device(free=8), CONVOLUTIONS, 3) == PackShape(3, "matmul")


def test_where_that_does_not_fit_it_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    assert choose(device(free=8, memory=3), CONVOLUTIONS, 12) == PackShape(3, "matmul")
    assert "not have enough memory for so many runs at once: trying 3 lanes" in caplog.text

    def broken(shape: PackShape) -> float:
        raise RuntimeError("no engine was found")

    with pytest.raises(RuntimeError, match="no engine was found"):
        choose(broken, CONVOLUTIONS, 8)


def test_ways_to_convolve_are_compared_only_where_they_differ(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else chance would decide, and another worker's runs would be described otherwise."""

    def dense(**_: object) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

    assert convolves(problem.build_model(seed=0, dropout=0.0))
    assert not convolves(dense())
    assert not convolves(nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten()))
    monkeypatch.setattr("indian_tune.training.probe.choose", None)
    trainer = Trainer(
        replace(problem, model="dense", build_model=dense), packing=Packing(2, execution="stacked")
    )
    assert trainer.pack_shape == PackShape(2, "grouped")


def test_a_trainer_without_a_given_packing_tries_packings_out(problem: Problem) -> None:
    told = Trainer(problem, packing=Packing(2, execution="stacked")).provenance.execution
    assert told in {f"stacked, 2 slots, {way}" for way in CONVOLUTIONS}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lanes": 0}, "lanes = 0 is not allowed"),
        ({"convolutions": "fft"}, "convolutions = 'fft' is not known"),
        ({"execution": "threads"}, "execution = 'threads' is not known"),
    ],
    ids=str,
)
def test_a_packing_that_is_not_allowed_is_refused_by_name(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Packing(**arguments)


def test_on_a_cpu_runs_are_looped_unless_packs_are_asked_for(problem: Problem) -> None:
    assert Trainer(problem).provenance.execution == "loop, by hand"


def test_the_time_of_a_step_has_no_part_of_what_is_planned_once_an_epoch(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    feed = Feed(problem.train, problem, cpu)
    setup = Setup(problem, cpu, Precision(), feed, feed, None, feed)
    (signature,) = signatures_of([DEFAULT])
    pack = Pack(signature, 2, setup, "grouped")
    clock = [0.0]

    def taking(seconds: float) -> Callable[..., None]:
        def pass_time(*_: object) -> None:
            clock[0] += seconds

        return pass_time

    monkeypatch.setattr(probe, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(Pack, "_plan", taking(100.0))
    monkeypatch.setattr(Pack, "step", taking(1.0))
    assert probe._seconds_per_step(pack, cpu) == 1.0
