"""Clipped gradients and averaged weights: what is trained, measured, kept and resumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch

from indian_tune.errors import CheckpointError, InputError
from indian_tune.optim import FAMILIES
from indian_tune.training import CheckpointFolder, Precision, Run, Trainer
from indian_tune.training.feed import Feed
from indian_tune.training.live import MODEL, LiveRun, Setup
from indian_tune.training.loop import Loop
from indian_tune.training.packing import PackShape
from indian_tune.training.stacked import Stacked
from tests.training.test_executions import CONFIGS, EXECUTIONS, PACKED, distance, of_everyday, train

if TYPE_CHECKING:
    from pathlib import Path

    from indian_tune.problems.problem import Problem

MakeRun = Callable[..., Run]
CPU = torch.device("cpu")
BOTH = {"clip_norm": 0.5, "ema_decay": 0.8}


def after_epochs(
    problem: Problem, runs: list[Run], shape: PackShape | None, watch: Callable[[LiveRun], None]
) -> list[LiveRun]:
    """Train runs for 2 epochs, 10 steps, in float64."""
    precision = Precision("float64")
    feed = Feed(problem.train, problem, CPU, precision.dtype)
    setup = Setup(problem, CPU, precision, feed, feed, None, feed)
    execution = Loop(setup) if shape is None else Stacked(setup, shape)
    lives = [LiveRun(run, problem, CPU, precision) for run in runs]
    for live in lives:
        watch(live)
    for _ in range(2):
        execution.advance(lives)
    return lives


def flattened(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def averaged(live: LiveRun) -> list[torch.Tensor]:
    assert live.average is not None
    return list(live.average.state_dict().values())


def test_gradients_are_scaled_to_the_norm_and_the_average_follows_every_step(
    problem: Problem, make_run: MakeRun
) -> None:
    norms: list[float] = []
    means: list[torch.Tensor] = []

    def watch(live: LiveRun) -> None:
        def before(*_: object) -> None:
            gradients = [each.grad for each in live.model.parameters() if each.grad is not None]
            norms.append(float(torch.stack([each.norm() for each in gradients]).norm()))

        def after(*_: object) -> None:
            flat = flattened(live.model)
            means.append(flat.clone() if not means else 0.8 * means[-1] + 0.2 * flat)

        live.optimizer.register_step_pre_hook(before)
        live.optimizer.register_step_post_hook(after)

    after_epochs(problem, [make_run()], None, watch)
    free = sorted(norms)
    norms.clear()
    means.clear()
    limit = (free[4] + free[5]) / 2
    run = make_run(clip_norm=limit, ema_decay=0.8)
    (live,) = after_epochs(problem, [run], None, watch)
    assert len(norms) == 10
    clipped = [norm == pytest.approx(limit, rel=1e-5) for norm in norms]
    assert max(norms) <= limit
    assert 1 < sum(clipped) < 10
    found = flattened(live.measured)
    assert distance([found], [means[-1]]) <= 1e-14
    own = flattened(live.model)
    assert distance([own], [means[-1]]) > 1e-3


# What a family computes does not depend on the network.
@pytest.mark.parametrize(
    ("family", "own_network"), [*((family, False) for family in PACKED), ("indian", True)]
)
def test_a_pack_agrees_with_the_loop_to_12_digits(
    problem: Problem, make_run: MakeRun, family: str, own_network: bool
) -> None:
    problem = of_everyday(problem) if own_network else problem
    config = CONFIGS.get(family, {"gamma0": 0.1})
    runs = [
        make_run(key="one", family=family, config=config, **BOTH),
        make_run(key="two", family=family, config=config, clip_norm=0.1, ema_decay=0.5, seed=2),
    ]
    expected = after_epochs(problem, runs, None, lambda _: None)
    found = after_epochs(problem, runs, PackShape(3, "matmul"), lambda _: None)
    for one, other in zip(found, expected, strict=True):
        assert distance(averaged(one), averaged(other)) <= 1e-12


@pytest.mark.parametrize("arguments", EXECUTIONS.values(), ids=EXECUTIONS)
class TestEveryExecution:
    def test_a_run_that_is_killed_after_every_epoch_goes_on_to_the_bit(
        self, problem: Problem, make_run: MakeRun, tmp_path: Path, arguments: dict[str, Any]
    ) -> None:
        run = make_run(**BOTH)
        records = []
        for epoch in range(4):
            trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), **arguments)
            trainer.add(make_run(key="beside", seed=9, **BOTH))
            assert trainer.add(run) == epoch
            records += trainer.advance()[1:]
            trainer.save()
        assert records == train(problem, arguments, run)

    @pytest.mark.slow
    def test_runs_with_and_without_them_do_not_touch_each_other(
        self, problem: Problem, make_run: MakeRun, arguments: dict[str, Any]
    ) -> None:
        runs = [
            make_run(key="plain", epochs=2),
            make_run(key="both", epochs=2, **BOTH),
            make_run(key="clipped", epochs=2, clip_norm=0.5),
            make_run(key="averaged", epochs=2, ema_decay=0.8),
            make_run(key="other", epochs=2, clip_norm=0.01, ema_decay=0.99),
        ]
        alone = [train(problem, arguments, run) for run in runs]
        for run, expected in zip(runs, alone, strict=True):
            assert train(problem, arguments, run, *(o for o in runs if o is not run)) == expected
        losses = {each[-1].metrics["train_loss"] for each in alone}
        assert len(losses) == len(runs)


@pytest.mark.parametrize("family", ["muon", "nadamw", "qhm", "torch.optim:RMSprop"])
def test_a_family_that_is_looped_has_them_too(
    problem: Problem, make_run: MakeRun, family: str
) -> None:
    run = {"family": family, "config": {"gamma0": 0.01}, "epochs": 2}
    plain, both = (
        train(problem, EXECUTIONS["loop"], make_run(**run, **more))[-1] for more in ({}, BOTH)
    )
    assert plain.metrics["train_loss"] != both.metrics["train_loss"]


def test_none_of_them_changes_nothing(problem: Problem, make_run: MakeRun) -> None:
    run = make_run(epochs=2)
    off = make_run(epochs=2, clip_norm=0.0, ema_decay=0.0)
    huge = make_run(epochs=2, clip_norm=1e9)
    expected = train(problem, EXECUTIONS["loop"], run)
    assert train(problem, EXECUTIONS["loop"], off) == expected
    assert train(problem, EXECUTIONS["loop"], huge) == expected


def test_the_weights_that_are_kept_are_those_that_were_measured(
    problem: Problem, make_run: MakeRun, tmp_path: Path
) -> None:
    trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path / "run"))
    run = make_run(epochs=1, **BOTH)
    trainer.add(run)
    trainer.advance()
    trainer.save()
    trainer.save_weights(run.key, kept := CheckpointFolder(tmp_path / "kept"))
    whole, saved = CheckpointFolder(tmp_path / "run").load(run.key), kept.load(run.key)
    assert whole is not None
    assert saved is not None
    average = whole.state["live"]["average"]
    assert average["n_averaged"] == 5
    for name, value in saved.state[MODEL].items():
        assert torch.equal(value, average[f"module.{name}"])
    other = Trainer(problem, checkpoints=CheckpointFolder(tmp_path / "run"))
    with pytest.raises(CheckpointError, match=r"ema_decay is 0.8, not 0.0"):
        other.add(make_run(epochs=1, clip_norm=0.5))


@pytest.mark.parametrize(
    "wrong", [{"clip_norm": -1.0}, {"clip_norm": float("inf")}, {"ema_decay": 1.0}]
)
def test_a_run_out_of_range_is_refused(make_run: MakeRun, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_run(**wrong)


def test_what_averages_itself_is_known_by_its_family() -> None:
    assert [name for name, family in FAMILIES.items() if family.averages] == ["schedule-free"]
