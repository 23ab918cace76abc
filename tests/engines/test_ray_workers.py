"""The workers that Ray places, and what becomes of those that are lost; without Ray."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError

from indian_tune.engines import process_info
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.ray import workers
from indian_tune.errors import EngineError
from indian_tune.ledger import LOST, Ledger, Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines.settings import WorkerSettings


@dataclass
class Cluster:
    """Stands for Ray: the worker of each actor ends as is given, once all have been answered.

    Attributes:
        ends: what each raises, in the order of their start; ``None`` where nothing is left to do.
        age: of the first actors when they end, in seconds.
    """

    ends: list[Exception | None]
    age: float = 0.0
    now: float = 0.0
    started: int = 0
    killed: list[Any] = field(default_factory=list)

    def remote(self, **_demand: Any) -> Callable[[type], Any]:
        return lambda _actor: SimpleNamespace(remote=self._start)

    def _start(self) -> Any:
        end = self.ends[self.started]
        self.started += 1
        said = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: "said"))
        return SimpleNamespace(run=SimpleNamespace(remote=lambda _settings: end), said=said)

    def wait(self, refs: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        if refs == ["said"]:
            return refs, []
        first, self.now = not self.now, self.age + 1 if self.now else 1.0
        return [] if first else refs[:1], []

    def get(self, ref: Any) -> list[tuple[int, str]]:
        if isinstance(ref, Exception):
            raise ref
        return []

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


@pytest.fixture
def settings(storage: str, settings_for: Callable[[str], WorkerSettings]) -> WorkerSettings:
    return settings_for(storage)


@pytest.fixture
def placed(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have workers placed on a cluster."""

    def on(cluster: Cluster, slots: int) -> None:
        monkeypatch.setattr(workers, "ray", cluster)
        monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: cluster.now))
        workers.Placement(settings, {}, lambda: slots).run(Interrupt(), lambda: None)

    return on


def test_a_search_goes_on_when_its_last_actor_is_lost(
    placed: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    short: Any = OutOfMemoryError
    cluster = Cluster([ActorDiedError(), short("the node is short of memory"), None])
    placed(cluster, 1)
    assert cluster.started == 3
    assert caplog.text.count("an actor of Ray with a worker was lost") == 2
    assert "lost (the node is short of memory)" in caplog.text


def test_a_lost_node_with_many_actors_that_worked_ends_no_search(
    placed: Callable[..., None],
) -> None:
    lost: list[Exception | None] = [ActorDiedError() for _ in range(8)]
    cluster = Cluster([*lost, *[None] * 8], age=60.0)
    placed(cluster, 8)
    assert cluster.started == 16
    with pytest.raises(
        EngineError, match=r"6 actors of Ray were lost within a minute, .* task\. The records"
    ):
        placed(Cluster([*lost, *lost]), 8)


def test_the_trials_of_a_worker_that_died_with_its_actor_are_free_at_once(
    storage: str,
    settings: WorkerSettings,
    tiny: dict[str, Any],
    register: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(storage, tiny)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    package = logging.getLogger("indian_tune")
    monkeypatch.setattr(package, "propagate", True)
    monkeypatch.setattr(package, "handlers", [*package.handlers])
    monkeypatch.setattr(workers, "lent_device", lambda: "cpu")
    trained: list[WorkerSettings] = []
    engine = SimpleNamespace(run=lambda *_: None)

    def made(each: list[WorkerSettings]) -> Any:
        trained.extend(each)
        return engine

    monkeypatch.setattr(workers, "ProcessEngine", made)
    with Ledger.open(storage) as ledger:
        study = ledger.study("tiny")
        host, own = process_info.host(), os.getpid()
        for name, pid in (("dead", ended.pid), ("alive", own), ("next", own)):
            started = process_info.started(pid)
            ledger.join(study.id, name, host=host, pid=pid, started=started, device="cpu")
        held = [ledger.claim(study.id, Phase.TUNE, worker) for worker in ("dead", "alive")]
        workers.WorkerActor().run(settings)
        assert [event.data["worker"] for event in ledger.events(study.id, LOST)] == ["dead"]
        again = ledger.claim(study.id, Phase.TUNE, "next")
    assert held[0] is not None
    assert again is not None
    assert again.trial.id == held[0].trial.id
    assert [each.device for each in trained] == ["cpu"]


def test_a_folder_means_the_same_on_a_cluster_that_was_started_elsewhere(
    settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = replace(settings, artifacts=Path("made"), data_dir=Path("data"))
    sent = workers.Placement(given, {}, lambda: 1).settings
    assert (sent.artifacts, sent.data_dir) == (tmp_path / "made", tmp_path / "data")
    assert workers.Placement(settings, {}, lambda: 1).settings == settings
