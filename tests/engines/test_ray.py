"""The Ray engine on clusters of this machine's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from pydantic import ValidationError

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.joining import joined_controller, registered_study
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.ray import actor
from indian_tune.engines.ray import engine as ray_engine
from indian_tune.engines.ray.driver import RayDriver, newest_checkpoint
from indian_tune.engines.ray.engine import RayEngine, RayOptions
from indian_tune.errors import CheckpointError, EngineError, StorageError
from indian_tune.ledger import LOST, LedgerReader, State
from indian_tune.ledger.slots import BROKE
from indian_tune.training import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from indian_tune.engines.settings import WorkerSettings
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import EpochRecord

    Metrics = dict[tuple[str, str, int, int], list[EpochRecord]]
    Register = Callable[[str, dict[str, Any]], StudySpec]
    Read = Callable[[str], Metrics]

# Ray's own code warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def settings(storage: str, settings_for: Callable[[str], WorkerSettings]) -> WorkerSettings:
    return settings_for(storage)


@contextmanager
def cluster_of(*nodes: dict[str, Any]) -> Iterator[Cluster]:
    """Run a cluster whose head only drives, so that every other node can be lost."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for node in nodes:
        made.add_node(**node)
    made.wait_for_nodes()
    try:
        yield made
    finally:
        made.shutdown()  # type: ignore[no-untyped-call]


@contextmanager
def driver_midway(command: list[str], epochs: Callable[[], int]) -> Iterator[subprocess.Popen[str]]:
    """Start a search, and wait until its first epochs are recorded."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as driver:
        try:
            while not epochs():
                assert driver.poll() is None
                time.sleep(0.1)
            yield driver
        finally:
            driver.kill()


def is_part(process: psutil.Process, part: str) -> bool:
    """Whether a process is this part of Ray; one that has ended meanwhile is none."""
    try:
        return part in process.name() or "".join(process.cmdline()[:1]).startswith(part)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def command(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
) -> list[str]:
    """The search of the study `tiny` on Ray, as a user starts it."""
    return [
        *(sys.executable, "-m", "indian_tune", "search", str(write_study(tiny))),
        *("--engine", "ray", "--workers", "1", "--storage", storage),
        *("--artifacts", str(settings.artifacts)),
    ]


@pytest.fixture
def epochs(storage: str, metrics: Read) -> Callable[[], int]:
    """Count the epochs that are recorded."""
    return lambda: sum(len(rows) for rows in metrics(storage).values())


def states(storage: str) -> list[tuple[State, int]]:
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
        return [(trial.state, trial.attempts) for trial in trials]


@pytest.mark.slow
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
    left: list[Path] = []

    def look() -> None:
        ticks.append(None)
        with LedgerReader.open(storage) as ledger:
            trials = ledger.trials(ledger.study("tiny").id)
        for trial in trials:
            if trial.state.finished:
                # Ray brings the folder itself back, whenever it copies its logs.
                left.extend(settings.artifacts.rglob(f"trial-{trial.id}-*/checkpoint_*"))

    engine = RayEngine(settings, RayOptions(workers=2))
    engine.run(Interrupt(), look)
    assert metrics(storage) == undisturbed
    assert left == []
    assert not list(settings.artifacts.rglob("trial-*"))
    with LedgerReader.open(storage) as ledger:
        runs = ledger.study_runs(ledger.study("tiny").id)
    told = {tuple(sorted((run.provenance or {}).items())) for run in runs}
    expected = {**asdict(Provenance.of("cpu", execution="loop, by hand")), "threads": 1}
    assert told == {tuple(sorted(expected.items()))}
    assert states(storage) == [(State.COMPLETE, 1)] * 8
    assert ticks
    assert not [path for path in settings.artifacts.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.night
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
    RayEngine(settings, RayOptions(workers=2)).run(Interrupt(), lambda: None)
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
    RayEngine(settings, RayOptions(workers=1)).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        wild, sgd = ledger.progress(ledger.study("tiny").id)
    assert wild.counts == {State.DIVERGED: 6}
    assert sgd.counts[State.PRUNED] >= 1
    assert sgd.finished == 6


@pytest.mark.slow
@pytest.mark.night
def test_an_interrupted_ray_study_goes_on_to_the_same_record(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
    epochs: Callable[[], int],
) -> None:
    register(storage, tiny)
    interrupt = Interrupt()

    def stop_midway() -> None:
        if epochs() >= 3:
            interrupt.requests = 1

    RayEngine(settings, RayOptions(workers=1)).run(interrupt, stop_midway)
    assert interrupt.requested
    assert (State.RUNNING, 1) not in states(storage)
    RayEngine(settings, RayOptions(workers=1)).run(Interrupt(), lambda: None)
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
    command: list[str],
    epochs: Callable[[], int],
) -> None:
    register(storage, tiny)
    with driver_midway(command, epochs) as driver:
        driver.kill()
    assert metrics(storage) != undisturbed
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert metrics(storage) == undisturbed
    assert {state for state, _ in states(storage)} == {State.COMPLETE}
    assert not [path for path in settings.artifacts.rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGINT,),
        pytest.param((signal.SIGTERM,), marks=pytest.mark.night),
        pytest.param((signal.SIGINT, signal.SIGINT), marks=pytest.mark.night),
    ],
    ids=str,
)
def test_a_signal_stops_a_ray_search_and_keeps_everything(
    signals: tuple[signal.Signals, ...],
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
    command: list[str],
    epochs: Callable[[], int],
) -> None:
    register(storage, tiny)
    with driver_midway(command, epochs) as driver:
        for number in signals:
            driver.send_signal(number)
        _, told = driver.communicate(timeout=300)
    assert driver.returncode == 130
    assert "Continue with" in told
    assert "Traceback" not in told
    assert metrics(storage) != undisturbed
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny")
        assert not ledger.trials(study.id, states=(State.RUNNING,))
        begun = [
            run.trial_id
            for run in ledger.study_runs(study.id)
            if run.epochs_done and not run.state.finished
        ]
    if len(signals) == 1:
        # What was begun continues from where it stood; stopped at once, from the last checkpoint.
        assert all(list(settings.artifacts.rglob(f"trial-{n}-*/checkpoint_*")) for n in begun)
    RayEngine(settings, RayOptions(workers=1)).run(Interrupt(), lambda: None)
    assert metrics(storage) == undisturbed
    assert states(storage) == [(State.COMPLETE, 1)] * 8


@pytest.mark.slow
def test_a_lost_node_loses_nothing(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    register: Register,
    metrics: Read,
    epochs: Callable[[], int],
) -> None:
    register(storage, tiny)
    lost: list[float] = []
    with cluster_of(*[{"num_cpus": 2, "num_gpus": 1}] * 2) as cluster:

        def lose_a_node() -> None:
            if not lost and epochs() >= 2:
                lost.append(time.monotonic())
                node = next(iter(cluster.worker_nodes))
                cluster.remove_node(node, allow_graceful=False)

        options = RayOptions(ray_address=cluster.address, gpus_per_trial=0.5)
        RayEngine(settings, options).run(Interrupt(), lose_a_node)
    assert lost
    assert metrics(storage) == undisturbed
    assert {state for state, _ in states(storage)} == {State.COMPLETE}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("gpus", "each"), [pytest.param(8, 1.0, marks=pytest.mark.night), (4, 0.5)]
)
def test_every_trial_sees_the_gpu_that_it_was_lent_and_no_other(
    gpus: int,
    each: float,
    tmp_path: Path,
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = 8
    tiny["search"]["trials"] = at_once // 2
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1, "confirm_seeds": 0}
    register(storage, tiny)
    folder = tmp_path / "seen"
    folder.mkdir()

    # Not at the top of the module, where Ray's actors would have to find it.
    class Looking(actor.TrialTrainable):
        """Notes what it sees, and waits until as many as expected do."""

        def step(self) -> dict[str, Any]:
            seen = os.environ["CUDA_VISIBLE_DEVICES"]
            (folder / f"trial-{self.config['trial']}").write_text(seen)
            while len(list(folder.iterdir())) < at_once:
                time.sleep(0.1)
            return super().step()

    monkeypatch.setattr(actor, "TrialTrainable", Looking)
    with cluster_of({"num_cpus": at_once, "num_gpus": gpus}) as cluster:
        options = RayOptions(ray_address=cluster.address, gpus_per_trial=each)
        RayEngine(settings, options).run(Interrupt(), lambda: None)
    seen = Counter(file.read_text() for file in folder.iterdir())
    assert seen == {str(n): round(1 / each) for n in range(gpus)}
    assert states(storage) == [(State.COMPLETE, 1)] * at_once


def test_the_newest_checkpoint_of_a_trial_is_found_again(tmp_path: Path) -> None:
    for path in (
        "trial-1-001-aa/checkpoint_000000",
        "trial-1-001-aa/checkpoint_000001",
        "trial-1-002-bb/checkpoint_000000",
        "trial-1-003-cc",
        "trial-2-003-ee/checkpoint_000000",
        "trial-2-1790000000000-ff/checkpoint_000000",
        "trial-11-009-dd/checkpoint_000000",
    ):
        (tmp_path / path).mkdir(parents=True)
    found = newest_checkpoint(str(tmp_path), 1)
    assert found == str(tmp_path / "trial-1-002-bb" / "checkpoint_000000")
    # The number of an attempt was in the names before; the time is in them now.
    found = newest_checkpoint(str(tmp_path), 2)
    assert found == str(tmp_path / "trial-2-1790000000000-ff" / "checkpoint_000000")
    assert newest_checkpoint(str(tmp_path), 3) is None
    assert newest_checkpoint(str(tmp_path / "absent"), 1) is None


def test_the_death_of_an_actor_is_recorded_and_three_without_a_new_epoch_fail_its_trial(
    storage: str, settings: WorkerSettings, tiny: dict[str, Any], register: Register, tmp_path: Path
) -> None:
    register(storage, tiny)
    with (
        registered_study(settings) as study,
        joined_controller(settings, study, "ray") as controller,
    ):
        driver = RayDriver(controller, settings, Interrupt(), str(tmp_path / "ray"), 9.0)
        for n in range(3):
            config = driver.suggest(f"ray-{n}", 1)
            assert isinstance(config, dict)
            assert config[actor.ATTEMPT] == n + 1
            stacks = config[actor.STACKS]
            if n == 2:
                (tmp_path / "ray" / f"stacks-ray-{n}.txt").write_text("  in forward")
            assert stacks == str(tmp_path / "ray" / f"stacks-ray-{n}.txt")
            driver.actor_lost(f"ray-{n}", "far", "exit type: SYSTEM_ERROR")
            # Ray may tell it again.
            driver.actor_lost(f"ray-{n}", "far")
        lost = study.ledger.events(study.id, LOST)
        (failed,) = study.ledger.trials(study.id, states=(State.FAILED,))
        broke = [e.data for e in study.ledger.events(study.id) if e.kind == BROKE]
    assert [event.data["trials"] for event in lost] == [["indian/0"]] * 3
    assert [event.data["host"] for event in lost] == ["far"] * 3
    assert ["reason" in event.data for event in lost] == [False, False, True]
    assert [data["attempt"] for data in broke] == [1, 2, 3]
    assert broke[0]["traceback"].startswith("exit type: SYSTEM_ERROR")
    assert broke[0]["reason"] == "the actor of indian/0 died on far"
    assert "in forward" in broke[2]["traceback"]
    assert "made no progress for 9 s" in str(failed.reason)


@pytest.mark.parametrize(
    ("share", "threads", "there", "words"),
    [
        (0, 1, {"CPU": 2.0}, "2 CPUs and 0 GPUs: 2 trials at once"),
        (0, 4, {"CPU": 9.0, "GPU": 1.0}, "2 trials at once, on CPUs alone: see --gpus-per-trial"),
        (0.3, 1, {"CPU": 16.0, "GPU": 2.0}, "6 trials at once"),
        (2, 1, {"CPU": 16.0, "GPU": 3.0}, "1 trial at once"),
        (0.25, 1, {"CPU": 3.0, "GPU": 8.0}, "3 trials at once"),
    ],
)
def test_it_is_told_what_a_cluster_has(
    share: float, threads: int, there: dict[str, float], words: str
) -> None:
    assert words in RayOptions(gpus_per_trial=share).capacity(there, threads)


def test_a_cluster_of_its_own_has_the_gpus_that_were_counted(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own count knows no slices, and a trial that needs one would wait for ever."""
    asked: list[dict[str, Any]] = []

    def init(**options: Any) -> None:
        asked.append(options)
        raise RuntimeError("not today")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr(ray_engine, "show_gpus", lambda: 3)
    with pytest.raises(EngineError, match="not today"):
        RayEngine(settings, RayOptions(workers=2))._connect()
    assert (asked[0]["num_gpus"], asked[0]["num_cpus"]) == (3, 2)


def test_workers_that_pack_are_placed_where_they_reach_the_database(
    storage: str, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match="--ray-storage is not used with --lanes"):
        RayOptions(lanes=2, ray_storage="/shared/ray")
    with pytest.raises(ValidationError, match="--shrink-packs needs --lanes"):
        RayOptions(shrink_packs=True)
    options = RayOptions(lanes=2, ray_address="10.0.0.1:6379")
    assert options.capacity({"CPU": 3.0}, 1) == "3 CPUs and 0 GPUs: 3 workers with 2 lanes"
    here, there = socket.gethostname(), "far"
    hosts = [here, there]
    monkeypatch.setattr(ray_engine, "_knock", lambda address: None)
    monkeypatch.setattr(
        ray_engine, "_ask_cluster", lambda address: {"resources": {"CPU": 3.0}, "hosts": hosts}
    )
    with pytest.raises(StorageError, match=r"SQLite file, but with --lanes the workers on .*far"):
        options.make(settings)
    server = replace(settings, storage="postgresql+psycopg://me@10.0.0.2/tuning")
    assert options.make(server) is not None
    hosts.remove(there)
    assert options.make(settings) is not None


def test_a_folder_that_ray_cannot_write_to_is_named(
    storage: str, settings: WorkerSettings, tiny: dict[str, Any], register: Register, tmp_path: Path
) -> None:
    register(storage, tiny)
    (tmp_path / "file").touch()
    engine = RayEngine(settings, RayOptions(workers=1, ray_storage=str(tmp_path / "file" / "ray")))
    with (
        registered_study(settings) as study,
        joined_controller(settings, study, "ray") as controller,
        pytest.raises(CheckpointError, match=r"cannot be written to .*file/ray: .*Not a directory"),
    ):
        engine._tune(controller, None, Interrupt(), lambda: None)


def test_a_cluster_that_is_not_there_is_named(
    storage: str, settings: WorkerSettings, tiny: dict[str, Any], register: Register
) -> None:
    register(storage, tiny)
    engine = RayEngine(settings, RayOptions(ray_address="127.0.0.1:1"))
    with pytest.raises(EngineError, match=r"Ray cannot be reached at 127\.0\.0\.1:1"):
        engine.run(Interrupt(), lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["ray::Trial", pytest.param("raylet", marks=pytest.mark.night), "gcs_server"]
)
def test_a_part_of_the_cluster_that_is_killed_costs_nothing_and_is_named(
    part: str,
    storage: str,
    tiny: dict[str, Any],
    settings_for: Callable[[str], WorkerSettings],
    register: Register,
    write_study: Callable[[dict[str, Any]], Path],
    metrics: Read,
    command: list[str],
    epochs: Callable[[], int],
    tmp_path: Path,
) -> None:
    # Runs that take seconds, so that an actor can be killed in the middle of one.
    tiny["problem"]["batch_size"] = 8
    tiny["protocol"] |= {"epochs": 4, "tune_epochs": 4, "confirm_seeds": [1000]}
    tiny["search"]["trials"] = 1
    assert str(write_study(tiny)) in command
    undisturbed_storage = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    register(undisturbed_storage, tiny)
    InlineEngine(settings_for(undisturbed_storage)).run(Interrupt(), lambda: None)
    register(storage, tiny)
    with driver_midway(command, epochs) as driver:
        victims: list[psutil.Process] = []
        while not victims:
            assert driver.poll() is None
            started = psutil.Process(driver.pid).children(recursive=True)
            victims = [process for process in started if is_part(process, part)]
        for victim in victims:
            victim.kill()
        _, told = driver.communicate(timeout=120)
    assert "Traceback" not in told
    if part == "ray::Trial":
        # An actor alone: its trial continues in another, and the record tells of it.
        assert driver.returncode == 0, told
        with LedgerReader.open(storage) as ledger:
            assert ledger.events(ledger.study("tiny").id, LOST)
    else:
        assert driver.returncode == 1, told
        assert "the Ray cluster was lost" in told
        assert "Continue with:\n  indian-tune search" in told
        psutil.wait_procs(started, timeout=30)
        assert not [process for process in started if process.is_running()]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert metrics(storage) == metrics(undisturbed_storage)
    assert {state for state, _ in states(storage)} == {State.COMPLETE}
