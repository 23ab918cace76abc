"""A worker that trains several trials side by side leaves the record of one that does not."""

from __future__ import annotations

import copy
import os
import signal
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch

from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineEngine
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.ray.engine import RayEngine, RayOptions
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import DeviceLostError, EngineError, InputError
from indian_tune.ledger import LOST, PACKED, Ledger, LedgerReader, Phase, State
from indian_tune.ledger.leases import expire
from indian_tune.service.study_status import look
from indian_tune.training import PackShape, Provenance, Trainer
from tests.conftest import TINY
from tests.engines.pacing import looking, train_paced
from tests.training.test_device_faults import SHORTAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from indian_tune.problems import Problem
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import EpochRecord
    from tests.engines.conftest import Metrics

    Settings = Callable[..., WorkerSettings]
    Register = Callable[[str, dict[str, Any]], StudySpec]
    Record = Callable[..., Metrics]

LANES = 3


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    """Two arms, one of which diverges now and then, with a pruner that sees generations."""
    tiny = copy.deepcopy(TINY)
    tiny["search"] |= {"trials": 8, "pruner": "median", "generation": 4}
    tiny["protocol"] |= {"epochs": 4, "tune_epochs": 4, "confirm_seeds": 1}
    tiny["arms"] = [
        {"name": "wild", "optimizer": "sgd", "space": {"gamma0": {"choices": [0.05, 1e30]}}},
        {"name": "sgd", "optimizer": "sgd"},
    ]
    return tiny


def outcomes(storage: str) -> list[tuple[Any, ...]]:
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
    return [
        (trial.arm_id, trial.phase, trial.index, trial.config, trial.state, trial.value)
        for trial in trials
    ]


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, study: dict[str, Any], register: Register
) -> str:
    """Address of the study as a worker leaves it that trains one trial at a time."""
    folder = tmp_path_factory.mktemp("alone")
    storage = f"sqlite:///{folder / 'study.db'}"
    register(storage, study)
    settings = WorkerSettings(storage=storage, study="tiny", artifacts=folder / "artifacts")
    InlineEngine(settings).run(Interrupt(), lambda: None)
    return storage


def test_packs_leave_the_same_record_to_the_last_bit(
    storage: str,
    alone: str,
    study: dict[str, Any],
    settings_for: Settings,
    register: Register,
    metrics: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    advance = Trainer.advance

    def counted(self: Trainer, keys: Iterable[str] | None = None) -> list[EpochRecord]:
        sizes.append(len(self.active))
        return advance(self, keys)

    monkeypatch.setattr(Trainer, "advance", counted)
    register(storage, study)
    InlineEngine(replace(settings_for(storage), lanes=LANES)).run(Interrupt(), lambda: None)
    assert outcomes(storage) == outcomes(alone)
    assert metrics(storage) == metrics(alone)
    states = {state for *_, state, _ in outcomes(storage)}
    assert states == {State.COMPLETE, State.PRUNED, State.DIVERGED}
    # Full as long as there is work of the same kind: a generation of each arm, 4 and 4 trials.
    assert max(sizes) == LANES
    assert sizes[0] == LANES
    assert sizes.count(LANES) >= 4


@pytest.mark.slow
def test_a_pack_that_is_killed_or_interrupted_goes_on_to_the_same_record(
    storage: str,
    alone: str,
    study: dict[str, Any],
    settings_for: Settings,
    register: Register,
    metrics: Record,
) -> None:
    register(storage, study)
    settings = replace(settings_for(storage), lanes=LANES)
    interrupt = Interrupt()
    epochs = 0

    def stop() -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 2:
            interrupt.requests = 1

    InlineEngine(settings).run(interrupt, stop)
    with LedgerReader.open(storage) as ledger:
        record = ledger.study("tiny")
        begun = [trial for trial in ledger.trials(record.id) if trial.started_at is not None]
        open_ones = [trial for trial in begun if not trial.state.finished]
        assert {trial.state for trial in open_ones} == {State.WAITING}
        assert len(open_ones) > 1
    killed: list[int] = []

    def kill() -> None:
        with LedgerReader.open(storage) as ledger:
            progress = ledger.progress(record.id)
            if not killed and sum(part.epochs_done for part in progress) >= 4 * LANES:
                (worker,) = [w for w in ledger.workers(record.id) if w.left_at is None]
                killed.append(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    ProcessEngine([settings], train_paced).run(Interrupt(), looking(settings, kill))
    assert killed
    assert outcomes(storage) == outcomes(alone)
    assert metrics(storage) == metrics(alone)


def test_a_trial_that_breaks_its_pack_fails_alone(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tiny["search"]["trials"] = 4
    tiny["protocol"]["confirm_seeds"] = 0
    tiny["arms"] = tiny["arms"][1:]
    broken: set[str] = set()
    advance = Trainer.advance

    def fragile(self: Trainer, keys: Iterable[str] | None = None) -> list[EpochRecord]:
        chosen = list(keys or ())
        broken.update(key for key in chosen if key.endswith("run-2"))
        if broken & set(chosen):
            raise ZeroDivisionError("the model is broken")
        return advance(self, chosen)

    monkeypatch.setattr(Trainer, "advance", fragile)
    register(storage, tiny)
    InlineEngine(replace(settings_for(storage), lanes=LANES)).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id, phase=Phase.TUNE)
    states = [trial.state for trial in trials]
    assert states == [State.COMPLETE, State.FAILED, State.COMPLETE, State.COMPLETE]
    assert [trial.attempts for trial in trials] == [1, 3, 1, 1]
    assert trials[1].reason == "ZeroDivisionError: the model is broken"
    assert (
        "a pack of runs failed (the model is broken): its trials continue one by one" in caplog.text
    )


def test_a_lost_lease_drops_its_trial_and_no_other(
    storage: str,
    tiny: dict[str, Any],
    undisturbed: Metrics,
    settings_for: Settings,
    register: Register,
    metrics: Record,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(storage, tiny)
    settings = replace(settings_for(storage), lanes=LANES)
    thefts = 0

    def steal() -> None:
        """Another worker takes over a trial of the pack, and gives it back at once."""
        nonlocal thefts
        thefts += 1
        if thefts == 1:
            with Ledger.open(storage) as ledger:
                study = ledger.study("tiny")
                (worker,) = ledger.workers(study.id)
                with ledger._writing() as connection:
                    expire(connection, worker.id, datetime.now(UTC) - timedelta(seconds=1))
                ledger.join(study.id, "thief", host=worker.host, pid=1, started="0", device="cpu")
                lease = ledger.claim(study.id, Phase.TUNE, "thief")
                assert lease is not None
                ledger.release(lease)
                ledger.heartbeat(worker.id)

    InlineEngine(settings).run(Interrupt(), steal)
    assert caplog.text.count("another worker took it over") == 1
    assert metrics(storage) == undisturbed


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack on a CPU too, as on a GPU."""
    init = Trainer.__init__

    def stacked(self: Trainer, problem: Problem, **options: Any) -> None:
        packing = replace(options["packing"], execution="stacked", convolutions="matmul")
        init(self, problem, **options | {"packing": packing})

    monkeypatch.setattr(Trainer, "__init__", stacked)


@pytest.mark.usefixtures("packed")
def test_where_the_memory_does_not_suffice_lanes_are_halved_and_no_attempt_is_lost(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tiny["search"]["trials"] = 4
    tiny["protocol"]["confirm_seeds"] = 0
    tiny["arms"] = tiny["arms"][1:]
    advance = Trainer.advance
    failed: list[weakref.ref[Any]] = []
    # Each halving meets another one.
    shortages = iter(SHORTAGES.values())
    most = 2 ** len(SHORTAGES)

    class Network:
        """Stands for the tensors of a step that fails."""

    def full(self: Trainer, keys: Iterable[str] | None = None) -> list[EpochRecord]:
        assert self.pack_shape is not None
        if failed:
            # When it is tried again, nothing of what failed is in the memory any more.
            assert [each() for each in failed] == [None] * len(failed)
        if self.pack_shape.lanes > 1:
            held = Network()
            failed.extend([weakref.ref(held), weakref.ref(self)])
            raise next(shortages)()
        return advance(self, keys)

    monkeypatch.setattr(Trainer, "advance", full)
    register(storage, tiny)
    InlineEngine(replace(settings_for(storage), lanes=most)).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("tiny").id
        trials = ledger.trials(study, phase=Phase.TUNE)
        shapes = [event.data["slots"] for event in ledger.events(study, PACKED)]
        runs = [run for trial in trials for run in ledger.runs(trial.id)]
        described = {run.provenance["execution"] for run in runs if run.provenance is not None}
    assert [(trial.state, trial.attempts) for trial in trials] == [(State.COMPLETE, 1)] * 4
    assert shapes == [most >> n for n in range(len(SHORTAGES) + 1)]
    # Also of those that were claimed before.
    assert described == {"stacked, 1 slots, matmul"}
    assert len(failed) == 2 * len(SHORTAGES)
    assert (
        "does not have enough memory for so many runs at once: continuing with 2 lanes"
        in caplog.text
    )


@pytest.mark.usefixtures("packed")
def test_after_an_error_of_the_device_its_process_trains_nothing_more(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained: list[Trainer] = []

    def assertion(self: Trainer, keys: Iterable[str] | None = None) -> list[EpochRecord]:
        trained.append(self)
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nmore")

    monkeypatch.setattr(Trainer, "advance", assertion)
    register(storage, tiny)
    engine = InlineEngine(replace(settings_for(storage), lanes=LANES))
    with pytest.raises(
        DeviceLostError,
        match=r"this process cannot use cpu any more \(CUDA error: device-.*\): .* same command",
    ):
        engine.run(Interrupt(), lambda: None)
    assert len(trained) == 1
    with LedgerReader.open(storage) as ledger:
        (worker,) = ledger.workers(ledger.study("tiny").id)
    # As one that has died, whose trials are found to be lost.
    assert worker.left_at is None


def test_workers_on_one_kind_of_device_use_the_shape_that_was_recorded_first(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    init = Trainer.__init__

    def stacked(self: Trainer, problem: Problem, **options: Any) -> None:
        packing = replace(options["packing"], execution="stacked")
        init(self, problem, **options | {"packing": packing})

    def measure(*_: object) -> PackShape:
        """Meanwhile others record theirs, the last of them on such a device."""
        kind = {"device_name": Provenance.of("cpu").device_name, "lanes_asked": 2}
        others: list[dict[str, object]] = [{"device_name": "another"}, {"lanes_asked": None}, {}]
        measured.append(1)
        with Ledger.open(storage) as ledger:
            for lanes, other in zip((3, 4, 1), others, strict=True):
                told = {"worker": "other", **PackShape(lanes).recorded(), **kind, **other}
                ledger.record_event(ledger.study("tiny").id, PACKED, told)
        return PackShape(2, "matmul")

    measured: list[int] = []
    monkeypatch.setattr(Trainer, "__init__", stacked)
    monkeypatch.setattr("indian_tune.training.probe.choose", measure)
    register(storage, tiny)
    settings = replace(settings_for(storage), lanes=2)
    interrupt = Interrupt()

    def stop() -> None:
        interrupt.requests = 1

    InlineEngine(settings).run(interrupt, stop)
    InlineEngine(settings).run(Interrupt(), lambda: None)
    assert measured == [1]
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
        runs = [run for trial in trials for run in ledger.runs(trial.id)]
    described = [run.provenance or {} for run in runs]
    assert {each["execution"] for each in described} == {"stacked, 1 slots, grouped"}
    assert not any("resumed_from" in each for each in described)


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_a_device_without_memory_for_one_run_ends_the_search_with_one_sentence(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
    shortage: str,
) -> None:
    def full(self: Trainer, problem: Problem, **options: Any) -> None:
        raise SHORTAGES[shortage]()

    monkeypatch.setattr(Trainer, "__init__", full)
    register(storage, tiny)
    with pytest.raises(EngineError, match="cpu does not have enough memory for the data") as ended:
        InlineEngine(settings_for(storage)).run(Interrupt(), lambda: None)
    assert not isinstance(ended.value, DeviceLostError)


def test_a_worker_whose_gpu_torch_cannot_use_refuses_it_before_it_takes_part(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_: object) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("indian_tune.training.device.start_kernel", start)
    register(storage, tiny)
    settings = replace(settings_for(storage), device="cuda:0")
    with pytest.raises(InputError, match="cuda:0' cannot be used: The NVIDIA driver on your sys"):
        InlineEngine(settings).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        assert not list(ledger.workers(ledger.study("tiny").id))


def lose_device_once(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Lose the device in the first process, and end well in the next."""
    del should_stop
    mark = settings.artifacts / "lost"
    if not mark.exists():
        mark.touch()
        raise DeviceLostError("this process cannot use cuda:0 any more")
    (settings.artifacts / "continued").touch()


@pytest.mark.slow
def test_a_process_that_has_lost_its_device_is_replaced(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(storage, tiny)
    settings = settings_for(storage)
    settings.artifacts.mkdir()
    ProcessEngine([settings], lose_device_once).run(Interrupt(), lambda: None)
    assert "cannot use cuda:0 any more: another one takes its place" in caplog.text
    assert (settings.artifacts / "continued").exists()


@pytest.mark.usefixtures("packed")
def test_the_shape_of_a_workers_packs_is_shown_with_it(
    storage: str,
    tiny: dict[str, Any],
    settings_for: Settings,
    register: Register,
) -> None:
    register(storage, tiny)
    shown: list[Any] = []

    def look_at() -> None:
        with LedgerReader.open(storage) as ledger:
            shown.append(look(ledger, ledger.study("tiny")).as_json()["workers"])

    InlineEngine(replace(settings_for(storage), lanes=LANES)).run(Interrupt(), look_at)
    expected = {"slots": LANES, "convolutions": "matmul", "shrink": False}
    assert [worker["packing"] for worker in shown[0]] == [expected]
    with LedgerReader.open(storage) as ledger:
        runs = ledger.study_runs(ledger.study("tiny").id)
    assert {(run.provenance or {})["execution"] for run in runs} == {"stacked, 3 slots, matmul"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_that_ray_places_pack_runs_and_one_that_is_lost_costs_nothing(
    storage: str,
    alone: str,
    study: dict[str, Any],
    settings_for: Settings,
    register: Register,
    metrics: Record,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register(storage, study)
    interrupt = Interrupt()
    killed: list[int] = []
    lost: set[str] = set()

    def epochs() -> int:
        return sum(len(rows) for rows in metrics(storage).values())

    def disturb() -> None:
        done = epochs()
        if done >= 4 and not killed:
            killed.append(done)
            with LedgerReader.open(storage) as ledger:
                worker = ledger.workers(ledger.study("tiny").id)[0]
            lost.add(worker.id)
            process = psutil.Process(worker.pid)
            above = [each for each in process.parents() if "ray::WorkerActor" in each.name()]
            # As where the memory of a node is used up, and its kernel ends what it finds.
            for each in (process, *above):
                each.kill()
        elif killed and done >= killed[0] + 8:
            interrupt.requests = 1

    settings = settings_for(storage)
    RayEngine(settings, RayOptions(workers=2, lanes=LANES)).run(interrupt, disturb)
    assert killed
    assert interrupt.requested
    assert "an actor of Ray with a worker was lost" in caplog.text
    assert epochs() < sum(len(rows) for rows in metrics(alone).values())
    with LedgerReader.open(storage) as ledger:
        trials = ledger.trials(ledger.study("tiny").id)
    begun = [(each.worker_id, each.started_at, each.finished_at) for each in trials]
    beside = [
        sum(
            worker == own and start <= at and (end is None or end > at)
            for worker, start, end in begun
            if start is not None
        )
        for own, at, _ in begun
        if at is not None
    ]
    assert max(beside) >= LANES
    RayEngine(settings, RayOptions(workers=1, lanes=LANES)).run(Interrupt(), lambda: None)
    with LedgerReader.open(storage) as ledger:
        told = ledger.events(ledger.study("tiny").id, LOST)
    # By the actor that was next on that machine: nobody waits until the leases are over.
    assert {event.data["worker"] for event in told} == lost
    assert outcomes(storage) == outcomes(alone)
    assert metrics(storage) == metrics(alone)
