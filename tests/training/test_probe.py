from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from indian_tune.errors import InputError
from indian_tune.training import Trainer
from indian_tune.training.probe import MOST_SLOTS, Packing, choose
from indian_tune.training.stacked_forward import CONVOLUTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.problems.problem import Problem


def device(*, free: int, memory: int = 1000, slower: str = "grouped") -> Callable[[Packing], float]:
    """A device on which ``free`` slots cost no more than one, and ``memory`` slots fit."""

    def seconds(packing: Packing) -> float:
        if packing.slots > memory:
            raise torch.OutOfMemoryError
        return max(1.0, packing.slots / free) * (2.0 if packing.convolutions == slower else 1.0)

    return seconds


def test_slots_are_doubled_until_that_brings_nothing() -> None:
    assert choose(device(free=8), CONVOLUTIONS) == Packing(8, "matmul")
    assert choose(device(free=1), CONVOLUTIONS) == Packing(1, "matmul")
    assert choose(device(free=10**6), CONVOLUTIONS) == Packing(MOST_SLOTS, "matmul")


def test_slots_are_doubled_until_the_memory_does_not_suffice() -> None:
    assert choose(device(free=32, memory=4), CONVOLUTIONS) == Packing(4, "matmul")
    with pytest.raises(torch.OutOfMemoryError):
        choose(device(free=1, memory=0), CONVOLUTIONS)


def test_the_faster_way_to_convolve_is_taken() -> None:
    assert choose(device(free=8, slower="matmul"), CONVOLUTIONS) == Packing(8, "grouped")
    assert choose(device(free=8), ["grouped"]) == Packing(8, "grouped")


def test_a_number_of_slots_that_is_given_stays() -> None:
    assert choose(device(free=8), CONVOLUTIONS, 3) == Packing(3, "matmul")


def test_a_trainer_without_a_given_packing_tries_packings_out(problem: Problem) -> None:
    told = Trainer(problem, execution="stacked", slots=2).provenance.execution
    assert told in {f"stacked, 2 slots, {way}" for way in CONVOLUTIONS}


@pytest.mark.parametrize("execution", ["loop", "stacked"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots": 0}, "slots = 0 is not allowed"),
        ({"convolutions": "fft"}, "convolutions = 'fft' is not known"),
    ],
    ids=str,
)
def test_a_packing_that_is_not_allowed_is_refused_by_name_on_every_device(
    problem: Problem, execution: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Trainer(problem, execution=execution, **arguments)  # type: ignore[arg-type]


def test_an_execution_that_is_not_known_is_refused_by_name(problem: Problem) -> None:
    with pytest.raises(InputError, match="execution = 'threads' is not known"):
        Trainer(problem, execution="threads")


def test_on_a_cpu_runs_are_looped_unless_packs_are_asked_for(problem: Problem) -> None:
    assert Trainer(problem).provenance.execution == "loop"
