"""The Ray engine on clusters of this machine's own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune.engines.inline import InlineEngine
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.ray_desk import newest_checkpoint
from indian_tune.engines.ray_engine import RayEngine, RayResources
from indian_tune.errors import EngineError, InputError
from indian_tune.ledger import EpochRow, LedgerReader, State
from indian_tune.training import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.spec import StudySpec

    Metrics = dict[tuple[str, str, int, int], list[EpochRow]]
    Register = Callable[[str, dict[str, Any]], StudySpec]
    Read = Callable[[str], Metrics]

# Ray's own code warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def settings(storage: str, settings_for: Callable[[str], WorkerSettings]) -> WorkerSettings:
    return settings_for(storage)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes; the head only drives, so that the others can be lost."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        made.add_node(num_cpus=1, num_gpus=1)
    made.wait_for_nodes()
    yield made
    made.shutdown()  # type: ignore[no-untyped-call]


def states(storage: str) -> list[tuple[State, int]]:
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
        return [(trial.state, trial.attempts) for trial in trials]


def test_ray_leaves_the_same_record_as_inline_to_the_last_bit(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
) -> None:
    register(storage, tiny)
    ticks: list[None] = []
    most = 0

    def look() -> None:
        nonlocal most
        ticks.append(None)
        most = max(most, len(list(settings.artifacts.rglob("trial-*"))))

    engine = RayEngine(settings, RayResources(workers=2))
    engine.run(Interrupt(), look)
    assert metrics(storage) == undisturbed
    # Folders of trials under way, and of those that have just ended; not of all 8.
    assert most <= 5
    with LedgerReader.open(storage) as ledger:
        runs = ledger.study_runs(ledger.study("tiny").id)
    told = {tuple(sorted((run.provenance or {}).items())) for run in runs}
    expected = {**asdict(Provenance.of("cpu")), "threads": 1}
    assert told == {tuple(sorted(expected.items()))}
    assert states(storage) == [(State.COMPLETE, 1)] * 8
    assert ticks
    assert not [path for path in settings.artifacts.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_ray_keeps_the_same_final_weights_as_inline(
    storage: str,
    settings: WorkerSettings,
    tmp_path: Path,
    keeping: dict[str, Any],
    kept_weights: Callable[[], list[tuple[int, str]]],
    settings_for: Callable[[str], WorkerSettings],
    register: Register,
) -> None:
    register(storage, keeping)
    RayEngine(settings, RayResources(workers=2)).run(Interrupt(), lambda: None)
    by_ray = kept_weights()
    other = f"sqlite:///{tmp_path / 'other.db'}"
    register(other, keeping)
    InlineEngine(settings_for(other)).run(Interrupt(), lambda: None)
    assert by_ray == kept_weights()
    assert len(by_ray) == 4


@pytest.mark.slow
def test_pruned_and_diverged_trials_are_recorded_as_exactly_that(
    storage: str, settings: WorkerSettings, tiny: dict[str, Any], register: Register
) -> None:
    tiny["search"] |= {"trials": 6, "pruner": "median", "sampler": "random"}
    tiny["protocol"] |= {"epochs": 6, "tune_epochs": 6, "confirm_seeds": 0}
    tiny["arms"] = [
        {"name": "wild", "optimizer": "sgd", "space": {"gamma0": {"choices": [1e30, 2e30]}}},
        {"name": "sgd", "optimizer": "sgd"},
    ]
    register(storage, tiny)
    RayEngine(settings, RayResources(workers=1)).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        wild, sgd = ledger.progress(ledger.study("tiny").id)
    assert wild.counts == {State.DIVERGED: 6}
    assert sgd.counts[State.PRUNED] >= 1
    assert sgd.finished == 6


@pytest.mark.slow
def test_an_interrupted_ray_study_goes_on_to_the_same_record(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
) -> None:
    register(storage, tiny)
    interrupt = Interrupt()

    def stop_midway() -> None:
        if sum(len(epochs) for epochs in metrics(storage).values()) >= 3:
            interrupt.requests = 1

    RayEngine(settings, RayResources(workers=1)).run(interrupt, stop_midway)
    assert interrupt.requested
    assert (State.RUNNING, 1) not in states(storage)
    RayEngine(settings, RayResources(workers=1)).run(Interrupt(), lambda: None)
    assert metrics(storage) == undisturbed
    assert states(storage) == [(State.COMPLETE, 1)] * 8


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_driver_loses_nothing(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
    write_study: Callable[[dict[str, Any]], Path],
) -> None:
    register(storage, tiny)
    command = [sys.executable, "-m", "indian_tune", "search", str(write_study(tiny))]
    command += ["--engine", "ray", "--workers", "2", "--storage", storage]
    command += ["--artifacts", str(settings.artifacts)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while sum(len(epochs) for epochs in metrics(storage).values()) < 3:
        assert driver.poll() is None
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    begun = metrics(storage)
    assert begun != undisturbed
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert metrics(storage) == undisturbed
    assert {state for state, _ in states(storage)} == {State.COMPLETE}
    assert not [path for path in settings.artifacts.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_stops_a_ray_search_and_keeps_everything(
    signals: int,
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
    write_study: Callable[[dict[str, Any]], Path],
) -> None:
    register(storage, tiny)
    command = [sys.executable, "-m", "indian_tune", "search", str(write_study(tiny))]
    command += ["--engine", "ray", "--workers", "1", "--storage", storage]
    command += ["--artifacts", str(settings.artifacts)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while sum(len(epochs) for epochs in metrics(storage).values()) < 1:
        assert driver.poll() is None
        time.sleep(0.1)
    for _ in range(signals):
        driver.send_signal(signal.SIGINT)
    _, told = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert "Go on with" in told
    assert "Traceback" not in told
    assert metrics(storage) != undisturbed
    RayEngine(settings, RayResources(workers=1)).run(Interrupt(), lambda: None)
    assert metrics(storage) == undisturbed


@pytest.mark.slow
def test_a_lost_node_loses_nothing(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
    cluster: Cluster,
) -> None:
    register(storage, tiny)
    lost: list[float] = []

    def lose_a_node() -> None:
        if not lost and sum(len(epochs) for epochs in metrics(storage).values()) >= 2:
            lost.append(time.monotonic())
            node = next(iter(cluster.worker_nodes))
            cluster.remove_node(node, allow_graceful=False)

    resources = RayResources(address=cluster.address, gpus_per_trial=0.5, cpus_per_trial=0.5)
    RayEngine(settings, resources).run(Interrupt(), lose_a_node)
    assert lost
    assert metrics(storage) == undisturbed
    assert {state for state, _ in states(storage)} == {State.COMPLETE}


def test_the_newest_checkpoint_of_a_trial_is_found_again(tmp_path: Path) -> None:
    for path in (
        "trial-1-001-aa/checkpoint_000000",
        "trial-1-001-aa/checkpoint_000001",
        "trial-1-002-bb/checkpoint_000000",
        "trial-1-003-cc",
        "trial-11-009-dd/checkpoint_000000",
    ):
        (tmp_path / path).mkdir(parents=True)
    found = newest_checkpoint(str(tmp_path), 1)
    assert found == str(tmp_path / "trial-1-002-bb" / "checkpoint_000000")
    assert newest_checkpoint(str(tmp_path), 2) is None
    assert newest_checkpoint(str(tmp_path / "absent"), 1) is None


def test_resources_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="must be at least 0"):
        RayResources(gpus_per_trial=-1)
    with pytest.raises(InputError, match=r"1\.5 must be a whole number, or at most 1"):
        RayResources(gpus_per_trial=1.5)


def test_a_cluster_that_is_not_there_is_named(
    storage: str, settings: WorkerSettings, tiny: dict[str, Any], register: Register
) -> None:
    register(storage, tiny)
    engine = RayEngine(settings, RayResources(address="127.0.0.1:1"))
    with pytest.raises(EngineError, match=r"Ray cannot be reached at 127\.0\.0\.1:1"):
        engine.run(Interrupt(), lambda: None)
