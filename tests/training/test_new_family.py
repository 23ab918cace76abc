"""A family that one record adds: everything that a study does with a family, it does with this."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import matplotlib.colors as mcolors
import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from indian_tune.analysis.figures.rows import styles_of
from indian_tune.analysis.style import INDIAN
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.session import open_session
from indian_tune.engines.settings import WorkerSettings
from indian_tune.ledger import LedgerReader, Phase, State, storage_url
from indian_tune.ledger.frames import epoch_frame
from indian_tune.optim import FAMILIES, Dynamics, Family, Hyperparameter
from indian_tune.optim.family import Packed
from indian_tune.optim.hyperparameters import GAMMA0, log_range, named
from indian_tune.planning.workload import searched, unstable_shares, workload
from indian_tune.study.file.spec import parse_study
from indian_tune.study.ranking import rank
from indian_tune.study.typical import typical
from indian_tune.training import CheckpointFolder, Packing, Run, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch.optim.optimizer import ParamsT

    from indian_tune.problems import Problem
    from indian_tune.study.file.spec import StudySpec

    MakeRun = Callable[..., Run]


class Lagged(Optimizer):
    """Steps along the gradient and a share of the one before it."""

    def __init__(
        self, params: ParamsT, lr: float, lag: float = 0.5, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "lag": lag, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for param in group["params"]:
                grad = param.grad.add(param, alpha=group["weight_decay"])
                state = self.state[param]
                before = state.setdefault("before", torch.zeros_like(param))
                param.sub_(grad.add(before, alpha=group["lag"]), alpha=group["lr"])
                before.copy_(grad)


def factors_packed(numbers: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: numbers[name] for name in ("gamma", "lag")}


def step_packed(
    params: Tensor, grads: Tensor, states: dict[str, Tensor], factors: dict[str, Tensor]
) -> None:
    before = states["before"]
    params.addcmul_(grads.addcmul(before, factors["lag"]), factors["gamma"], value=-1)
    states["before"].copy_(grads)


class Resting(torch.optim.SGD):
    """Is measured at weights of 0, and trains at others."""

    calls: ClassVar[list[str]] = []

    @torch.no_grad()
    def eval(self) -> None:
        self.calls.append("eval")
        for param in self.param_groups[0]["params"]:
            self.state[param]["kept"] = param.clone()
            param.zero_()

    @torch.no_grad()
    def train(self) -> None:
        self.calls.append("train")
        for param in self.param_groups[0]["params"]:
            if "kept" in self.state[param]:
                param.copy_(self.state[param]["kept"])


LAGGED = Family(
    "lagged",
    "Lagged SGD",
    named(GAMMA0, Hyperparameter("lag", "share of the gradient before", 0.5, low=0, high=1)),
    {"gamma0": log_range(1e-2, 0.5), "lag": {"low": 0.0, "high": 1.0}},
    Lagged,
    explain=lambda config: Dynamics(config["gamma0"] * (1 + config["lag"]), config["gamma0"], 0.0),
    role="momentum",
    decouple=True,
    packed=Packed(("before",), factors_packed, step_packed),
)
CONFIGS: dict[str, dict[str, float]] = {
    "none": {"gamma0": 0.2, "lag": 0.3},
    "decoupled": {"gamma0": 0.2, "weight_decay": 0.1},
    "coupled": {"gamma0": 0.2, "weight_decay": 0.1, "decoupled_weight_decay": 0.0},
}
LOOP: dict[str, Any] = {"packing": Packing(execution="loop")}
STACKED: dict[str, Any] = {"packing": Packing(3, "grouped", execution="stacked")}


@pytest.fixture(autouse=True)
def catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a new family is added to."""
    monkeypatch.setitem(FAMILIES, LAGGED.name, LAGGED)


@pytest.fixture
def spec(tiny: dict[str, Any]) -> StudySpec:
    tiny["arms"].append({"name": "new", "optimizer": "lagged"})
    return parse_study(tiny, source="study.toml")


def train(problem: Problem, arguments: dict[str, Any], *runs: Run) -> Trainer:
    trainer = Trainer(problem, **arguments)
    for run in runs:
        trainer.add(run)
    while trainer.active:
        trainer.advance()
    return trainer


def weights(trainer: Trainer, run: Run, folder: Path) -> dict[str, Tensor]:
    """The weights of a run as they are."""
    kept = CheckpointFolder(folder)
    trainer.save_weights(run.key, kept)
    saved = kept.load(run.key)
    assert saved is not None
    model: dict[str, Tensor] = saved.state["model"]
    return model


def run_study(spec: StudySpec, storage: str, folder: Path) -> None:
    settings = WorkerSettings(storage=storage, study=spec.name, artifacts=folder, lanes=2)
    with open_session(spec, storage_url(storage), None):
        InlineEngine(settings).run(Interrupt(), lambda: None)


def test_an_optimizer_with_modes_is_measured_and_saved_in_one_and_trains_in_the_other(
    problem: Problem, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = Family("resting", "Resting", named(GAMMA0), {}, Resting, decouple=True)
    monkeypatch.setitem(FAMILIES, "resting", resting)
    monkeypatch.setattr(Resting, "calls", [])
    run = make_run(family="resting", config={"gamma0": 0.1}, epochs=3)
    whole = Trainer(problem, **LOOP)
    whole.add(run)
    records = [record for _ in range(3) for record in whole.advance()]
    assert Resting.calls == ["train", "eval"] * 3
    for record in records:
        assert record.metrics["train_loss"] == pytest.approx(math.log(problem.classes), rel=1e-6)
    for _ in range(3):
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path), **LOOP)
        trainer.add(run)
        trainer.advance()
        trainer.save()
    ours, theirs = (
        {key: state["kept"] for key, state in each._entry(run.key).live.optimizer.state.items()}
        for each in (whole, trainer)
    )
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


def test_a_study_takes_it_with_its_space_and_its_part_in_the_claims(spec: StudySpec) -> None:
    assert spec.arm("new").space == LAGGED.default_space
    assert spec.claims.h2 is not None
    assert spec.claims.h2.momentum == ["new"]
    assert spec.claims.h1 is not None
    assert spec.claims.h1.beside == ["new"]


def test_it_is_planned(spec: StudySpec) -> None:
    assert [part.runs for part in workload(spec) if part.arm == "new"] == [2, 2]
    assert searched(spec, "new") == ["gamma0", "lag"]
    assert typical(spec, "new") == {"gamma0": 1e-2, "lag": pytest.approx(0.5)}
    shares = unstable_shares(spec, "new")
    assert shares is not None
    assert shares[0] == 0 < shares[1] < shares[2] < 1


@pytest.mark.parametrize("decay", CONFIGS)
def test_a_pack_trains_it_as_the_loop_does(
    problem: Problem,
    make_run: MakeRun,
    tmp_path: Path,
    decay: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = [
        make_run(key=f"{seed}", seed=seed, family="lagged", config=CONFIGS[decay])
        for seed in range(3)
    ]
    looped, packed = train(problem, LOOP, *runs), train(problem, STACKED, *runs)
    assert "one by one" not in caplog.text
    untrained = Trainer(problem, **LOOP)
    for run in runs:
        untrained.add(run)
        expected, found = weights(looped, run, tmp_path), weights(packed, run, tmp_path)
        for name, before in weights(untrained, run, tmp_path).items():
            size = (expected[name] - before).norm()
            assert size > 0
            assert (found[name] - expected[name]).norm() < 1e-3 * size


@pytest.mark.parametrize("arguments", [LOOP, STACKED], ids=["loop", "stacked"])
def test_it_goes_on_from_a_checkpoint_to_the_bit(
    problem: Problem, make_run: MakeRun, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    run = make_run(family="lagged", config=CONFIGS["decoupled"])
    for epoch in range(run.epochs):
        trainer = Trainer(problem, checkpoints=CheckpointFolder(tmp_path / "runs"), **arguments)
        assert trainer.add(run) == epoch
        trainer.advance()
        trainer.save()
    expected = weights(train(problem, arguments, run), run, tmp_path)
    found = weights(trainer, run, tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_it_is_tuned_ranked_and_drawn(
    spec: StudySpec, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(spec, storage, tmp_path)
    with LedgerReader.open(storage) as ledger:
        study = ledger.study(spec.name)
        assert {trial.state for trial in ledger.trials(study.id)} == {State.COMPLETE}
        (result,) = [each for each in rank(ledger, study) if each.name == "new"]
        frame = epoch_frame(ledger, study.id, Phase.CONFIRM)
    assert result.title == LAGGED.title
    assert result.config is not None
    assert result.dynamics == LAGGED.dynamics(result.config)
    assert result.confirmed is not None
    assert result.confirmed.runs == 2

    def hue() -> float:
        return float(mcolors.rgb_to_hsv(mcolors.to_rgb(styles_of(frame)["new"].color))[0])

    ours = mcolors.rgb_to_hsv(mcolors.to_rgb(INDIAN))[0]
    assert abs(hue() - ours) > 0.1
    monkeypatch.setitem(FAMILIES, LAGGED.name, replace(LAGGED, role="ours"))
    assert hue() == pytest.approx(ours, abs=0.02)
