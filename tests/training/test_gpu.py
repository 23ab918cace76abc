"""What only a GPU can show. ``python -m tests.benchmarks.packs`` runs these tests first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from indian_tune.optim import FAMILIES
from indian_tune.optim.kernel_choice import SWITCH
from indian_tune.training import EpochRecord, Packing, Precision, Run, Trainer
from tests.training.test_executions import CONFIGS, DIVERGING, of_everyday

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.problems.problem import Problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
PACKED = [name for name, family in FAMILIES.items() if family.packed is not None]
WAYS = ("grouped", "matmul")


def trained(problem: Problem, runs: list[Run], **options: Any) -> dict[str, list[EpochRecord]]:
    """Return the records of runs, without times, by key."""
    trainer = Trainer(problem, device="cuda", **options)
    for run in runs:
        trainer.add(run)
    found: dict[str, list[EpochRecord]] = {run.key: [] for run in runs}
    while trainer.active:
        for record in trainer.advance():
            found[record.key].append(replace(record, seconds=0.0))
    return found


def losses(records: list[EpochRecord]) -> list[float]:
    return [record.metrics["train_loss"] for record in records]


@pytest.mark.parametrize("family", PACKED)
def test_a_captured_pack_goes_where_the_loop_goes(
    problem: Problem, make_run: Callable[..., Run], family: str
) -> None:
    run = make_run(family=family, config=CONFIGS.get(family, {"gamma0": 0.1}))
    packing = Packing(2, "matmul", execution="stacked")
    packed = trained(problem, [run], packing=packing)[run.key]
    looped = trained(problem, [run], packing=Packing(execution="loop"))[run.key]
    assert losses(packed) == pytest.approx(losses(looped), rel=1e-2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("own_network", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_has_the_same_bits_in_every_lane(
    problem: Problem, make_run: Callable[..., Run], way: str, own_network: bool, precision: str
) -> None:
    problem = of_everyday(problem) if own_network else problem
    runs = [make_run(key=f"{seed}", seed=seed, epochs=2) for seed in range(4)]
    options = {"packing": Packing(4, way, execution="stacked"), "precision": Precision(precision)}
    together = trained(problem, runs, **options)
    assert trained(problem, runs[::-1], **options) == together
    assert trained(problem, runs[:1], **options)["0"] == together["0"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_diverging_run_leaves_the_bits_of_those_beside_it_alone(
    problem: Problem, make_run: Callable[..., Run], way: str, precision: str
) -> None:
    options = {"packing": Packing(4, way, execution="stacked"), "precision": Precision(precision)}
    healthy = [make_run(key=f"{seed}", seed=seed) for seed in range(2)]
    wrecks = [make_run(**{**DIVERGING, "key": f"wreck {n}", "seed": n}) for n in range(2)]
    beside = trained(problem, [wrecks[0], *healthy, wrecks[1]], **options)
    for wreck in wrecks:
        assert [record.diverged for record in beside.pop(wreck.key)] == [True]
    assert beside == trained(problem, healthy, **options)


def test_kernels_take_the_steps_of_torch(
    problem: Problem, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [make_run(key=family, family=family, epochs=2) for family in ("indian", "sgd", "adam")]
    packing = Packing(2, "matmul", execution="stacked")
    by_kernels = trained(problem, runs, packing=packing)
    monkeypatch.setenv(SWITCH, "torch")
    by_torch = trained(problem, runs, packing=packing)
    for key, records in by_kernels.items():
        assert losses(records) == pytest.approx(losses(by_torch[key]), rel=1e-3)


@pytest.mark.parametrize("examples", [5, 16, 20, 32, 40])
def test_short_epochs_are_captured(
    problem: Problem, make_run: Callable[..., Run], examples: int
) -> None:
    few = replace(problem, train=problem.train.first(examples))
    packing = Packing(2, "grouped", execution="stacked")
    (records,) = trained(few, [make_run()], packing=packing).values()
    assert [record.step for record in records] == [-(-examples // 16) * n for n in (1, 2, 3, 4)]
    torch.cuda.synchronize()


def test_many_packs_share_the_memory_of_their_steps(
    problem: Problem, make_run: Callable[..., Run]
) -> None:
    packing = Packing(2, "grouped", execution="stacked")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    trained(problem, [make_run(epochs=1)], packing=packing)
    one = torch.cuda.max_memory_reserved()
    runs = [
        make_run(key=family, family=family, epochs=1, config=CONFIGS.get(family, {"gamma0": 0.1}))
        for family in PACKED
    ]
    trained(problem, runs, packing=packing)
    assert torch.cuda.max_memory_reserved() < 3 * one
