"""Every worker gets its device, and sees no other."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from indian_tune.engines import devices
from indian_tune.engines.devices import confine, gpu_count, show_gpus, worker_devices
from indian_tune.engines.interrupt import Interrupt
from indian_tune.engines.local.inline import InlineOptions
from indian_tune.engines.local.processes import ProcessEngine
from indian_tune.engines.settings import WorkerSettings
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(autouse=True)
def unrestricted(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that it is put back whatever a test leaves there.
    monkeypatch.setenv(VISIBLE, "")
    monkeypatch.delenv(VISIBLE)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Put an ``nvidia-smi`` on the path that lists so many GPUs."""

    def of(gpus: int) -> None:
        tool = tmp_path / "nvidia-smi"
        lines = "\n".join(f"echo 'GPU {n}: NVIDIA H200 (UUID: GPU-{n})'" for n in range(gpus))
        tool.write_text(f"#!/bin/sh\n{lines}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return of


def look(settings: WorkerSettings, should_stop: Callable[[], bool]) -> None:
    """Write down what this worker process sees, and stay until all have."""
    # Loaded before the worker was forked.
    initialised = sys.modules["torch"].cuda.is_initialized()
    seen = f"{os.environ[VISIBLE]} {settings.torch_device} {initialised}"
    (settings.artifacts / settings.device).write_text(seen)
    while len(list(settings.artifacts.iterdir())) < int(settings.study) and not should_stop():
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("inherited", "ids"),
    [
        pytest.param(None, range(8), marks=pytest.mark.slow),
        ("7,6,5,4,3,2,1,0", range(7, -1, -1)),
    ],
)
def test_each_of_8_workers_on_8_gpus_sees_exactly_one(
    inherited: str | None,
    ids: range,
    tmp_path: Path,
    machine: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(8)
    if inherited is not None:
        monkeypatch.setenv(VISIBLE, inherited)
    seen = tmp_path / "seen"
    seen.mkdir()
    devices = worker_devices("auto", None, 1)
    assert devices == [f"cuda:{n}" for n in range(8)]
    workers = [WorkerSettings("", str(len(devices)), seen, device=device) for device in devices]
    ProcessEngine(workers, look).run(Interrupt(), lambda: None)
    assert {path.name: path.read_text() for path in seen.iterdir()} == {
        f"cuda:{n}": f"{gpu} cuda:0 False" for n, gpu in enumerate(ids)
    }
    assert os.environ.get(VISIBLE) == inherited


def test_a_worker_on_the_cpu_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "0,1")
    assert confine("cpu") == "cpu"
    assert os.environ[VISIBLE] == ""


def test_a_gpu_that_was_lent_is_used_where_none_can_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(VISIBLE, "3")
    assert confine("cuda:0") == "cuda:0"
    assert os.environ[VISIBLE] == "3"


@pytest.mark.parametrize(
    ("visible", "count"),
    [(None, 4), ("", 0), ("-1", 0), ("2", 1), ("3,1", 2), ("0,9,1", 1), ("GPU-2,GPU-0", 2)],
)
def test_gpus_that_the_environment_hides_are_not_counted(
    visible: str | None,
    count: int,
    machine: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(4)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    assert gpu_count() == count


SLICED = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-a)
  MIG 3g.40gb     Device  0: (UUID: MIG-b)
  MIG 1g.10gb     Device  1: (UUID: MIG-c)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-d)"""


def test_every_slice_of_a_gpu_is_a_device(
    tmp_path: Path, machine: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(0)
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{SLICED}\nEND\n")
    assert worker_devices("auto", None, 1) == ["cuda:0", "cuda:1", "cuda:2"]
    seen = []
    for device in worker_devices("auto", None, 1):
        monkeypatch.delenv(VISIBLE, raising=False)
        assert confine(device) == "cuda:0"
        seen.append(os.environ[VISIBLE])
    # A whole GPU by its number, as ever; slices have none.
    assert seen == ["MIG-b", "MIG-c", "1"]
    monkeypatch.delenv(VISIBLE)
    # Ray shares out what the process sees that starts it.
    assert show_gpus() == 3
    assert os.environ[VISIBLE] == "MIG-b,MIG-c,1"
    assert gpu_count() == 3
    monkeypatch.delenv(VISIBLE)
    # A process that is not confined to a slice sees the first one.
    settings = WorkerSettings("", "", tmp_path)
    InlineOptions(devices="cuda:0").make(settings)
    with pytest.raises(
        InputError, match=r"--devices = cuda:1 cannot be used .* set CUDA_VISIBLE_DEVICES=MIG-c and"
    ):
        InlineOptions(devices="cuda:1").make(settings)
    monkeypatch.setenv(VISIBLE, "MIG-c")
    assert worker_devices("auto", None, 1) == ["cuda:0"]
    InlineOptions().make(settings)


@pytest.mark.parametrize("tool", [None, "#!/bin/sh\nexit 9\n"], ids=["absent", "broken"])
def test_gpus_that_cannot_be_counted_are_not_passed_over_in_silence(
    tool: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if tool is not None:
        (tmp_path / "nvidia-smi").write_text(tool)
        (tmp_path / "nvidia-smi").chmod(0o755)
    driver = tmp_path / "nvidia0"
    driver.touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("indian_tune.engines.devices._SIGNS", (str(driver),))
    assert worker_devices("auto", 1, 1) == ["cpu"]
    assert f"GPUs cannot be counted, although {driver} exists" in caplog.text
    # What is named is taken: torch says whether it exists.
    assert worker_devices("cuda:1", None, 1) == ["cuda:1"]
    assert confine("cuda:1") == "cuda:0"
    assert os.environ[VISIBLE] == "1"
    driver.unlink()
    with pytest.raises(InputError, match="cuda:1 does not exist: this machine has 0 GPUs"):
        worker_devices("cuda:1", None, 1)


def test_workers_are_dealt_to_devices_in_turn(
    machine: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(2)
    monkeypatch.setattr("indian_tune.engines.devices.cores", lambda: 8)
    assert worker_devices("auto", None, 1) == ["cuda:0", "cuda:1"]
    assert worker_devices("cuda:0,cuda:1", 3, 1) == ["cuda:0", "cuda:1", "cuda:0"]
    assert worker_devices("cpu", None, 2) == ["cpu"] * 4
    assert worker_devices("cpu", None, 16) == ["cpu"]
    with pytest.raises(InputError, match="cuda:2 does not exist: this machine has 2 GPUs"):
        worker_devices("cuda:2", None, 1)
    with pytest.raises(InputError, match="--device = 'cuda:7': cuda:7 does not exist"):
        worker_devices("cuda:7", 1, 1, ("--device", "--threads"))
    with pytest.raises(InputError, match="'gpu' is not a device"):
        worker_devices("gpu", None, 1)
    with pytest.raises(InputError, match="--workers = 0 must be at least 1"):
        worker_devices("cpu", 0, 1)


def test_more_workers_than_cores_are_warned_of_once(
    machine: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    machine(0)
    devices._warn_once.cache_clear()
    many = 2 * devices.cores()
    assert worker_devices("cpu", 1, many) == ["cpu"]
    assert caplog.messages == []
    assert worker_devices("cpu", many, 1) == worker_devices("cpu", many, 1) == ["cpu"] * many
    (said,) = caplog.messages
    assert said.startswith(f"--workers = {many} with 1 thread each is more than the ")
