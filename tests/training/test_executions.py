"""What every way to compute runs has to keep: one contract for the loop and for packs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from indian_tune.optim import FAMILIES
from indian_tune.problems.models import CounterDropout
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.training import CheckpointFolder, EpochRecord, Precision, Run, Trainer
from indian_tune.training.feed import Feed
from indian_tune.training.live import LiveRun, Setup
from indian_tune.training.loop import Loop
from indian_tune.training.pack import Pack
from indian_tune.training.packing import Packing, PackShape
from indian_tune.training.stacked import Stacked

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.problems.problem import Problem
    from indian_tune.training.execution import Execution

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")
PACKED = [name for name, family in FAMILIES.items() if family.packed is not None]
CONFIGS: dict[str, dict[str, float]] = {
    "indian": {"gamma0": 0.3, "alpha": 0.5, "beta": 0.1},
    "indian-eta": {"eta": 0.6, "alpha": 0.5, "beta": 0.1},
    "indian-memory": {"eta": 0.6},
    "adagrad": {"gamma0": 0.01},
    "adam": {"gamma0": 3e-3},
    "adamw": {"gamma0": 3e-3},
    "lion": {"gamma0": 3e-3},
    "innaprop": {"ratio": 3e-3},
    "momentum": {"gamma0": 0.05},
    "nesterov": {"gamma0": 0.05},
}
CONFIGS["indian, wsd"] = {
    **CONFIGS["indian"],
    "schedule": 4.0,
    "warmup": 0.1,
    "cooldown": 0.5,
}
DIVERGING = {"key": "diverging", "config": {"gamma0": 1e30, "alpha": 0.5, "beta": 0.1}}
EXECUTIONS: dict[str, dict[str, Any]] = {
    "loop": {"packing": Packing(execution="loop")},
    "one lane": {"packing": Packing(execution="stacked")},
    "grouped": {"packing": Packing(3, "grouped", execution="stacked")},
    "matmul": {"packing": Packing(3, "matmul", execution="stacked")},
}
SHAPES = {
    "one lane": PackShape(),
    "grouped": PackShape(3, "grouped"),
    "matmul": PackShape(3, "matmul"),
}


class Everyday(nn.Module):
    """A network as a user writes one, but for its dropout: no sequence, a norm with buffers."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        # With a bias, whose gradient is 0 but for rounding, ADAM would magnify the rounding.
        self.convolution = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.frozen = nn.Parameter(torch.full((8, 1, 1), 0.5), requires_grad=False)
        self.dropout = CounterDropout(dropout, layer=0)
        self.dense = nn.Linear(8 * 16, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.convolution(images)) + self.frozen)
        pooled = nn.functional.avg_pool2d(self.dropout(features), 2)
        logits: Tensor = self.dense(pooled.flatten(1))
        return logits


def everyday(*, seed: int, dropout: float) -> nn.Module:
    with seeded_global_generator("everyday", seed):
        return Everyday(dropout)


def of_everyday(problem: Problem) -> Problem:
    return replace(problem, model="everyday", build_model=everyday)


def train(problem: Problem, arguments: dict[str, Any], *runs: Run) -> list[EpochRecord]:
    """The records of the first run."""
    trainer = Trainer(problem, **arguments)
    for run in runs:
        trainer.add(run)
    records = []
    while trainer.active:
        records += trainer.advance()
    return [record for record in records if record.key == runs[0].key]


def weights_after(
    problem: Problem, runs: list[Run], precision: Precision, shape: PackShape | None
) -> list[list[Tensor]]:
    """The parameters and buffers of each run after an epoch more than once, 20 steps in all."""
    feed = Feed(problem.train, problem, CPU, precision.dtype)
    setup = Setup(problem, CPU, precision, feed, feed, None, feed)
    execution: Execution = Loop(setup) if shape is None else Stacked(setup, shape)
    lives = [LiveRun(run, problem, CPU, precision) for run in runs]
    for _ in range(4):
        execution.advance(lives)
    assert {live.step for live in lives} == {20}
    return [list(live.model.state_dict().values()) for live in lives]


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest distance of a tensor, relative to its length."""
    return max(
        float((one.double() - other.double()).norm() / other.double().norm().clamp_min(1e-300))
        for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("arguments", EXECUTIONS.values(), ids=EXECUTIONS)
class TestEveryExecution:
    def test_learns_and_gives_a_record_for_every_run_and_epoch(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any]
    ) -> None:
        trainer = Trainer(problem, **arguments)
        epochs = {"1": 12, "2": 3, "3": 2, "4": 1}
        for key, count in epochs.items():
            trainer.add(make_run(key=key, seed=int(key), dropout=0.0, epochs=count))
        seen = []
        while trainer.active:
            active = trainer.active
            records = trainer.advance()
            assert tuple(record.key for record in records) == active
            seen += records
        for key, count in epochs.items():
            own = [record for record in seen if record.key == key]
            assert [record.epoch for record in own] == list(range(1, count + 1))
            assert [record.step for record in own] == [5 * record.epoch for record in own]
        assert seen[-1].metrics["train_loss"] < 0.1
        assert all(record.seconds > 0 for record in seen)

    @pytest.mark.parametrize("own_network", [False, True])
    def test_a_run_is_the_same_to_the_bit_alone_and_in_any_place_beside_others(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any], own_network: bool
    ) -> None:
        if own_network:
            problem = of_everyday(problem)
        run = make_run(epochs=3)
        alone = train(problem, arguments, run)
        assert len(alone) == 3
        others = [
            make_run(key="seed", seed=2),
            make_run(key="config", config={"gamma0": 0.1, "alpha": 1.0, "beta": 0.3}),
            make_run(key="decay", config={**CONFIGS["indian"], "weight_decay": 0.1}),
            make_run(key="family", family="momentum", config={"gamma0": 0.1}, epochs=1),
            make_run(key="batch", batch_size=32, epochs=2),
            make_run(**DIVERGING),
        ]
        for place in (0, 3):
            trainer = Trainer(problem, **arguments)
            for each in [*others[:place], run, *others[place:]]:
                trainer.add(each)
            records = [record for _ in range(3) for record in trainer.advance()]
            assert [record for record in records if record.key == run.key] == alone

    def test_a_run_beside_diverging_ones_is_the_same_to_the_bit(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any]
    ) -> None:
        run = make_run()
        wrecks = [make_run(**{**DIVERGING, "key": f"{n}", "seed": n}) for n in range(2)]
        assert train(problem, arguments, run, *wrecks) == train(problem, arguments, run)
        trainer = Trainer(problem, **arguments)
        for each in (wrecks[0], run, wrecks[1]):
            trainer.add(each)
        first, middle, last = trainer.advance()
        assert first.diverged
        assert last.diverged
        assert isnan(first.metrics["train_loss"])
        assert middle == train(problem, arguments, run)[0]
        assert trainer.active == (run.key,)

    def test_a_run_can_be_stopped_and_another_takes_its_place(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any]
    ) -> None:
        stays, comes = make_run(key="stays"), make_run(key="comes", seed=7)
        trainer = Trainer(problem, **arguments)
        for each in (make_run(key="goes", seed=3), stays):
            trainer.add(each)
        records = trainer.advance()
        trainer.remove("goes")
        trainer.add(comes)
        while trainer.active:
            records += trainer.advance()
        for run in (stays, comes):
            own = [record for record in records if record.key == run.key]
            assert own == train(problem, arguments, run)

    def test_a_run_that_is_left_out_of_an_epoch_does_not_move(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any]
    ) -> None:
        runs = [make_run(key=key, seed=ord(key)) for key in "abc"]
        trainer = Trainer(problem, **arguments)
        for run in runs:
            trainer.add(run)
        records = trainer.advance(["b"]) + trainer.advance(["c", "b"])
        while trainer.active:
            records += trainer.advance()
        for run in runs:
            own = [record for record in records if record.key == run.key]
            assert own == train(problem, arguments, run)

    @pytest.mark.parametrize("family", ["indian", "adam", "adagrad", "momentum", "indian, wsd"])
    def test_a_run_that_is_killed_after_every_epoch_goes_on_to_the_bit(
        self,
        problem: Problem,
        make_run: MakeRun,
        tmp_path: Path,
        arguments: dict[str, Any],
        family: str,
    ) -> None:
        config = CONFIGS.get(family, {"gamma0": 0.1})
        family = family.removesuffix(", wsd")
        run = make_run(family=family, config=config)
        records = []
        for epoch in range(4):
            trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), **arguments)
            trainer.add(make_run(key="beside", family=family, config=config, seed=9))
            assert trainer.add(run) == epoch
            records += trainer.advance()[1:]
            trainer.save()
        assert records == train(problem, arguments, run)

    def test_the_global_generator_is_neither_read_nor_left_changed(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any]
    ) -> None:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = train(problem, arguments, make_run())
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert train(problem, arguments, make_run()) == first

    def test_the_step_at_which_a_run_ends_diverging_is_that_of_a_look_at_the_losses(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any]
    ) -> None:
        many = torch.arange(280) % 70
        train_part = replace(
            problem.train, inputs=problem.train.inputs[many], labels=problem.train.labels[many]
        )
        trainer = Trainer(replace(problem, train=train_part), **arguments)
        trainer.add(make_run(**{**DIVERGING, "batch_size": 1}))
        trainer.add(make_run(batch_size=1, config={**CONFIGS["indian"], "gamma0": 1e-3}))
        wreck, whole = trainer.advance()
        assert (wreck.diverged, wreck.step) == (True, 100)
        assert (whole.diverged, whole.step) == (False, 280)

    def test_what_the_bits_depend_on_is_told(
        self, problem: Problem, arguments: dict[str, Any]
    ) -> None:
        told = Trainer(problem, **arguments).provenance.execution
        packing: Packing = arguments["packing"]
        way = packing.convolutions or "grouped"
        is_loop = packing.execution == "loop"
        assert told == ("loop, by hand" if is_loop else f"stacked, {packing.lanes} slots, {way}")


class TestAPackThatShrinks:
    def test_halves_its_lanes_while_the_runs_fit(self) -> None:
        shape = PackShape(32, shrink=True)
        assert [shape.lanes_for(runs) for runs in (32, 17, 16, 9, 4, 3, 2, 1)] == [
            *(32, 32, 16, 16, 4, 4, 2, 1)
        ]
        assert {PackShape(32).lanes_for(runs) for runs in range(1, 33)} == {32}

    def test_trains_to_what_the_loop_finds_and_tells_that_it_shrinks(
        self, problem: Problem, make_run: MakeRun
    ) -> None:
        epochs = {"1": 4, "2": 3, "3": 2, "4": 1, "5": 1}
        runs = [make_run(key=k, seed=int(k), epochs=count) for k, count in epochs.items()]
        shrinking: dict[str, Any] = {
            "packing": Packing(4, "grouped", shrink=True, execution="stacked")
        }
        assert "4 slots or fewer" in Trainer(problem, **shrinking).provenance.execution
        for run in runs:
            others = [other for other in runs if other is not run]
            found = train(problem, shrinking, run, *others)
            looped = train(problem, EXECUTIONS["loop"], run)
            assert [record.metrics["train_loss"] for record in found] == pytest.approx(
                [record.metrics["train_loss"] for record in looped], rel=1e-4
            )

    def test_computes_no_empty_lanes_for_the_last_run(
        self, problem: Problem, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trained: list[tuple[int, int]] = []
        train_epoch = Pack.train_epoch

        def watched(pack: Pack, lives: Sequence[LiveRun]) -> None:
            trained.append((pack.lanes, len(lives)))
            train_epoch(pack, lives)

        monkeypatch.setattr(Pack, "train_epoch", watched)
        runs = [make_run(key=f"{n}", seed=n, epochs=n) for n in (1, 2, 3)]
        train(problem, {"packing": Packing(2, shrink=True, execution="stacked")}, *runs)
        assert trained == [(2, 2), (1, 1), (2, 2), (1, 1)]


def check_agreement(
    problem: Problem,
    make_run: MakeRun,
    shape: PackShape,
    family: str,
    precision: Precision,
    tolerance: float,
) -> None:
    config = CONFIGS.get(family, {"gamma0": 0.1})
    (size,) = config.keys() & {"eta", "gamma0", "ratio"}
    runs = [
        make_run(
            key=f"{seed}",
            seed=seed,
            family=family,
            config={**config, size: config[size] / seed},
        )
        for seed in (1, 2)
    ]
    expected = weights_after(problem, runs, precision, None)
    found = weights_after(problem, runs, precision, shape)
    for one, other in zip(found, expected, strict=True):
        assert distance(one, other) <= tolerance
    assert distance(expected[0], expected[1]) > 0.1


@pytest.mark.parametrize("family", PACKED)
def test_a_pack_of_every_family_agrees_with_the_loop_to_12_digits_in_float64(
    problem: Problem, make_run: MakeRun, family: str
) -> None:
    # What a family computes does not depend on the network or on how its convolutions are packed.
    check_agreement(problem, make_run, SHAPES["matmul"], family, Precision("float64"), 1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("own_network", [False, True])
class TestPacksAgreeWithTheLoop:
    @pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
    def test_after_20_steps_to_the_digits_of_the_precision(
        self,
        problem: Problem,
        make_run: MakeRun,
        shape: PackShape,
        own_network: bool,
        precision: Any,
        tolerance: float,
    ) -> None:
        problem = of_everyday(problem) if own_network else problem
        check_agreement(problem, make_run, shape, "indian", Precision(precision), tolerance)

    def test_after_20_steps_as_near_to_float64_as_the_loop_in_bfloat16(
        self, problem: Problem, make_run: MakeRun, shape: PackShape, own_network: bool
    ) -> None:
        # How far bfloat16 strays differs from processor to processor, but alike for both.
        problem = of_everyday(problem) if own_network else problem
        runs = [make_run(key=f"{s}", seed=s, family="sgd", config={"gamma0": 0.1}) for s in (1, 2)]
        exact = weights_after(problem, runs, Precision("float64"), None)
        looped = weights_after(problem, runs, Precision("bfloat16"), None)
        packed = weights_after(problem, runs, Precision("bfloat16"), shape)
        for truth, one, other in zip(exact, looped, packed, strict=True):
            strayed = distance(one, truth)
            assert strayed > 1e-3
            assert 1e-4 < distance(other, truth) < 1.5 * strayed


@pytest.mark.parametrize("way", ["into a pack", "out of a pack"])
@pytest.mark.parametrize("family", PACKED)
def test_a_run_can_change_its_execution_at_a_checkpoint(
    problem: Problem, make_run: MakeRun, tmp_path: Path, family: str, way: str
) -> None:
    run = make_run(family=family, config=CONFIGS.get(family, {"gamma0": 0.1}))
    parts = [EXECUTIONS["loop"], EXECUTIONS["matmul"]]
    if way == "out of a pack":
        parts.reverse()
    records = []
    for arguments in parts:
        trainer = Trainer(
            problem,
            precision=Precision("float64"),
            checkpoints=CheckpointFolder(tmp_path),
            **arguments,
        )
        trainer.add(run)
        records += trainer.advance() + trainer.advance()
        trainer.save()
    expected = train(problem, {"precision": Precision("float64")}, run)
    assert [r.epoch for r in records] == [r.epoch for r in expected]
    for record, other in zip(records, expected, strict=True):
        assert record.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=1e-9)


class TestWhatCannotBePacked:
    def test_an_optimizer_of_torch_is_looped_and_the_log_says_so(
        self, problem: Problem, make_run: MakeRun, caplog: pytest.LogCaptureFixture
    ) -> None:
        run = make_run(family="torch.optim:RMSprop", config={"gamma0": 1e-3}, epochs=2)
        beside = make_run(key="beside", epochs=2)
        assert train(problem, EXECUTIONS["matmul"], run, beside) == train(
            problem, EXECUTIONS["loop"], run
        )
        assert caplog.text.count("torch.optim:RMSprop are trained one by one") == 1

    @pytest.mark.parametrize("fault", ["draws", "idle parameter"])
    def test_a_network_that_torch_cannot_stack_is_looped_and_the_log_says_so(
        self, problem: Problem, make_run: MakeRun, caplog: pytest.LogCaptureFixture, fault: str
    ) -> None:
        class Difficult(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.dense = nn.Linear(64, 3)
                self.dropout = nn.Dropout(0.5 if fault == "draws" else 0.0)
                if fault != "draws":
                    self.idle = nn.Parameter(torch.ones(3))

            def forward(self, images: Tensor) -> Tensor:
                logits: Tensor = self.dense(self.dropout(images.flatten(1)))
                return logits

        difficult = replace(problem, model="own", build_model=lambda **_: Difficult())
        run = make_run(epochs=2)
        with caplog.at_level(logging.WARNING):
            records = train(difficult, EXECUTIONS["matmul"], run)
        assert records == train(difficult, EXECUTIONS["loop"], run)
        assert caplog.text.count("model 'own' are trained one by one") == 1
