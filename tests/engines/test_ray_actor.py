"""What an actor of the Ray engine reports, and what the driver makes of it; without Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune import training
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.joining import joined_controller, registered_study
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.ray import actor, driver, own_cluster
from indian_tune.engines.trials_in_hand import TrialsInHand
from indian_tune.ledger import LedgerReader, State
from indian_tune.training import Packing, PackShape, probe
from indian_tune.training.stacked_forward import CONVOLUTIONS
from tests.training.test_device_faults import LOST, SHORTAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indian_tune.engines.settings import WorkerSettings
    from tests.engines.conftest import Metrics

EPOCHS = 6


@pytest.fixture
def short(tiny: dict[str, Any]) -> dict[str, Any]:
    """A study of one short trial."""
    tiny["protocol"] |= {"epochs": EPOCHS, "tune_epochs": EPOCHS, "confirm_seeds": 0}
    tiny["search"]["trials"] = 1
    tiny["arms"] = tiny["arms"][:1]
    return tiny


@pytest.fixture
def driving(
    storage: str,
    short: dict[str, Any],
    settings_for: Callable[[str], WorkerSettings],
    register: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[driver.RayDriver]:
    """A driver of that study, and actors that would train all of it before they report."""
    monkeypatch.setattr(driver, "AHEAD_SECONDS", 600.0)
    monkeypatch.setattr(actor, "lent_device", lambda: "cpu")
    register(storage, short)
    settings = settings_for(storage)
    with (
        registered_study(settings) as study,
        joined_controller(settings, study, "ray") as controller,
    ):
        yield driver.RayDriver(controller, settings, Interrupt(), str(tmp_path / "ray"), None)


@pytest.fixture
def alone(
    tmp_path: Path,
    short: dict[str, Any],
    settings_for: Callable[[str], WorkerSettings],
    register: Callable[..., object],
    metrics: Callable[[str], Metrics],
) -> Metrics:
    """The record that one worker leaves in this process."""
    storage = f"sqlite:///{tmp_path / 'alone.db'}"
    register(storage, short)
    InlineEngine(settings_for(storage)).run(Interrupt(), lambda: None)
    return metrics(storage)


def begun(config: dict[str, Any]) -> actor.TrialTrainable:
    """Return an actor with a trial, as Ray would make it in a process of its own."""
    made = object.__new__(actor.TrialTrainable)
    made.setup(config)
    return made


def suggested(driving: driver.RayDriver) -> dict[str, Any]:
    config = driving.suggest("ray-0", 1)
    assert driving.suggest("ray-1", 1) is None
    assert isinstance(config, dict)
    return config


def numbers(result: dict[str, Any]) -> list[int]:
    return [row["epoch"] for epoch in result[actor.EPOCHS] for row in epoch[actor.RECORDS]]


def test_short_epochs_are_reported_together_and_leave_the_same_record(
    storage: str, driving: driver.RayDriver, alone: Metrics, metrics: Callable[[str], Metrics]
) -> None:
    result = begun(suggested(driving)).step()
    assert numbers(result) == list(range(1, EPOCHS + 1))
    assert result["done"]
    assert driving.record("ray-0", result)
    # Ray shows it again.
    assert driving.record("ray-0", result)
    assert metrics(storage) == alone


def test_epochs_that_a_checkpoint_has_and_the_record_has_not_are_told_again(
    storage: str,
    driving: driver.RayDriver,
    alone: Metrics,
    metrics: Callable[[str], Metrics],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    config = suggested(driving)
    # A checkpoint is due after the second epoch, and after the fifth.
    due = iter([False, True, False, False, True, False])
    monkeypatch.setattr(TrialsInHand, "checkpoint_due", lambda _self: next(due))
    first = begun(config)
    assert not driving.record("ray-0", first.step())
    lost = first.step()
    assert numbers(lost) == [3, 4, 5]
    first.save_checkpoint(str(tmp_path / "checkpoint"))
    first.cleanup()
    second = begun({**config, actor.RECORDED: dict.fromkeys(config[actor.RECORDED], 2)})
    second.load_checkpoint(str(tmp_path / "checkpoint"))
    result = second.step()
    assert numbers(result) == [3, 4, 5, 6]
    assert driving.record("ray-0", result)
    assert metrics(storage) == alone


def test_trials_of_an_actor_measure_once_how_packs_are_computed_and_keep_to_it_where_they_move(
    driving: driver.RayDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured: list[int] = []

    def choose(_seconds: object, _ways: object, lanes: int) -> PackShape:
        measured.append(lanes)
        # Noise decides.
        return PackShape(lanes, CONVOLUTIONS[len(measured) % 2])

    def way(of: actor.TrialTrainable) -> str:
        of.step()
        assert of._in_hand is not None
        assert of._in_hand.trainer.pack_shape is not None
        return of._in_hand.trainer.pack_shape.convolutions

    monkeypatch.setattr(probe, "choose", choose)
    monkeypatch.setattr(training, "Packing", partial(Packing, execution="stacked"))
    config = suggested(driving) | {actor.LANES: 2, actor.AHEAD: 0.0}
    one, other = begun(config), begun(config)
    assert way(one) == "matmul"
    one.save_checkpoint(str(tmp_path / "checkpoint"))
    one.reset_config(config)
    assert way(one) == "matmul"
    assert measured == [2]
    # Another actor, which finds the other way faster, for trials that begin there.
    assert way(other) == "grouped"
    other.reset_config(config)
    other.load_checkpoint(str(tmp_path / "checkpoint"))
    assert way(other) == "matmul"
    other.reset_config(config)
    assert way(other) == "grouped"
    assert measured == [2, 2]
    other.reset_config(config | {actor.LANES: 3})
    assert way(other) == "matmul"
    assert measured == [2, 2, 3]


def test_an_actor_halves_its_lanes_where_the_memory_does_not_suffice(
    storage: str, driving: driver.RayDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = training.Trainer.advance
    lanes: list[int] = []

    def full(self: training.Trainer, keys: Any = None) -> Any:
        assert self.pack_shape is not None
        lanes.append(self.pack_shape.lanes)
        if self.pack_shape.lanes > 2 or (self.pack_shape.lanes == 2 and len(lanes) == 4):
            raise SHORTAGES["runtime"]()
        return advance(self, keys)

    ways: list[str | None] = []

    def packing(lanes: int, way: str | None) -> Packing:
        ways.append(way)
        return Packing(lanes, "matmul", execution="stacked")

    monkeypatch.setattr(training.Trainer, "advance", full)
    monkeypatch.setattr(training, "Packing", packing)
    config = suggested(driving) | {actor.LANES: 4, actor.AHEAD: 0.0}
    made = begun(config)
    told = [made.step(), made.step(), made.step()]
    # From the beginning, as there is no checkpoint.
    assert [numbers(each) for each in told] == [[1], [2], [1]]
    assert lanes == [4, 2, 2, 2, 1]
    # The way to convolve is chosen once, by the first trainer.
    assert ways == [None, "matmul", "matmul"]
    assert not any(driving.record("ray-0", each) for each in told)
    with LedgerReader.open(storage) as ledger:
        (trial,) = ledger.trials(ledger.study("tiny").id)
        (run,) = ledger.runs(trial.id)
    assert run.provenance is not None
    assert run.provenance["execution"] == "stacked, 1 slots, matmul"
    assert "epochs to 2: execution stacked, 2 slots" in run.provenance["resumed_from"]


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_an_actor_that_lacks_memory_has_not_lost_its_gpu(shortage: str) -> None:
    assert not actor._lost(SHORTAGES[shortage]())
    assert actor._lost(LOST)


def test_what_was_trained_before_an_exception_is_recorded(
    storage: str,
    driving: driver.RayDriver,
    metrics: Callable[[str], Metrics],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance, asked = TrialsInHand.advance, iter(range(3))

    def failing(self: TrialsInHand) -> Any:
        if next(asked) == 2:
            raise ValueError("the third epoch")
        return advance(self)

    monkeypatch.setattr(TrialsInHand, "advance", failing)
    result = begun(suggested(driving)).step()
    assert numbers(result) == [1, 2]
    assert driving.record("ray-0", result)
    assert [len(epochs) for epochs in metrics(storage).values()] == [2]
    with LedgerReader.open(storage) as ledger:
        (trial,) = ledger.trials(ledger.study("tiny").id)
    assert trial.state is State.WAITING
    # It is now to lose nothing again.
    assert suggested(driving)[actor.AHEAD] == 0.0


class TestPruned:
    @pytest.fixture
    def short(self, short: dict[str, Any]) -> dict[str, Any]:
        short["search"] |= {"pruner": "median", "trials": 6}
        return short

    def test_a_trial_that_may_be_pruned_reports_every_epoch(
        self, driving: driver.RayDriver
    ) -> None:
        config = suggested(driving)
        assert config[actor.AHEAD] == 0.0
        assert numbers(begun(config).step()) == [1]


@dataclass(eq=False)
class Waiting:
    """What the scheduler reads of a trial of Ray's."""

    begun: int
    status: str = "PENDING"
    PENDING = "PENDING"
    RUNNING = "RUNNING"

    @property
    def config(self) -> dict[str, int]:
        return {actor.BEGUN: self.begun}


def test_a_free_actor_goes_to_the_trial_that_was_claimed_last(driving: driver.RayDriver) -> None:
    # The actor of the first one may have been starting for seconds: Ray would end it.
    starting, newest, running = Waiting(1), Waiting(3), Waiting(2, "RUNNING")
    live: Any = SimpleNamespace(get_live_trials=lambda: {starting, running, newest})
    scheduler = driver.DriverScheduler(driving, Interrupt())
    chosen: Any = scheduler.choose_trial_to_run(live)
    assert (chosen, scheduler.settled) == (newest, False)


def test_a_search_says_once_that_no_trial_could_start(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: now))
    ticks: list[float] = []
    ticker = driver.Ticker(lambda: ticks.append(now))

    def pass_to(second: float, *states: str) -> int:
        nonlocal now
        now = second
        trials: Any = [Waiting(0, state) for state in states]
        ticker.on_step_end(0, trials)
        return caplog.text.count("Ray has started no trial for 31 s")

    assert pass_to(0, "PENDING") == 0
    assert pass_to(29, "PENDING") == 0
    assert pass_to(29.5, "PENDING", "RUNNING") == 0
    assert pass_to(40, "PENDING") == 0
    assert pass_to(71, "PENDING") == 1
    assert pass_to(171, "PENDING") == 1
    assert len(ticks) == 6


def test_a_cluster_that_is_joined_is_shown_the_token_that_ray_start_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    own_cluster.show_token()
    assert "RAY_AUTH_MODE" not in os.environ
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").touch()
    own_cluster.show_token()
    assert os.environ.pop("RAY_AUTH_MODE") == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    own_cluster.show_token()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
