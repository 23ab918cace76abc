from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections import namedtuple
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from indian_tune.checkup import hardware, software, store
from indian_tune.checkup.check import CheckResult, Level, gib
from indian_tune.checkup.cluster import check_ray
from indian_tune.checkup.database import check_new_database
from indian_tune.checkup.software import check_software, required_torch
from indian_tune.ledger import storage_url
from indian_tune.optim import kernel_choice
from indian_tune.problems.machine import memory
from indian_tune.training import device, kernel_check

if TYPE_CHECKING:
    from pathlib import Path

Usage = namedtuple("Usage", ["total", "used", "free"])


def named(checks: list[CheckResult], name: str) -> CheckResult:
    (found,) = (check for check in checks if check.name == name)
    return found


def test_sizes_are_said_in_the_unit_that_fits() -> None:
    assert gib(3 * 2**30) == "3.0 GiB"
    assert gib(2**30 - 2**20) == "1023 MiB"


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_a_package_that_cannot_be_imported_fails_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    found = named(check_software(), "torch")
    assert found.level is Level.FAIL
    assert f"{name} cannot be imported: ModuleNotFoundError" in found.text
    assert "pip install" in found.fix


def test_ray_that_cannot_be_imported_fails_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (found,) = check_ray("127.0.0.1:1")
    assert (found.level, "pip install" in found.fix) == (Level.FAIL, True)


def test_builds_of_torch_and_torchvision_that_do_not_match_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    import torchvision

    monkeypatch.setattr(torchvision, "__version__", "0.29.1+cu130")
    monkeypatch.setattr(torch, "__version__", "2.14.1+cpu")
    found = named(check_software(), "torch")
    assert (found.level, "builds for cpu and cu130" in found.text) == (Level.FAIL, True)
    monkeypatch.setattr(torch, "__version__", "1.0.0+cu130")
    found = named(check_software(), "torch")
    assert (found.level, "which needs torch" in found.text) == (Level.FAIL, True)


def test_the_torch_that_torchvision_is_made_for_is_read_off_its_requirements() -> None:
    found = required_torch(["numpy", "torch==2.14.0", "pillow!=8.3.*"])
    assert found is not None
    assert (found.contains("2.14.0"), found.contains("2.13.0")) == (True, False)
    assert required_torch(["numpy"]) is None


def test_packages_that_are_missing_or_too_old_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.requires

    def requires(name: str) -> list[str] | None:
        if name != software.PACKAGE:
            return real(name)
        return ["numpy>=900", "no-such-package>=1", "optuna>=1", "pytest>900; extra == 'dev'"]

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    found = named(check_software(), "packages")
    assert found.level is Level.FAIL
    assert "is not >=900" in found.text
    assert "no-such-package is missing" in found.text
    assert found.fix == "run `pip install 'numpy>=900' 'no-such-package>=1'`"


def test_an_older_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "OLDEST_PYTHON", (99, 0))
    found = named(check_software(), "Python")
    assert (found.level, found.fix) == (Level.FAIL, "install Python 99.0 or newer")


def test_memory_is_what_a_container_leaves_of_the_machine_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SimpleNamespace(available=8 * 2**30, total=16 * 2**30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: machine)
    monkeypatch.setattr("indian_tune.problems.machine.CGROUP", tmp_path)
    assert memory() == (8 * 2**30, 16 * 2**30)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    assert memory() == (8 * 2**30, 16 * 2**30)
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    (tmp_path / "memory.current").write_text(f"{2**29 + 2**28}\n")
    assert memory() == (2**28, 2**30)
    found = named(hardware.check_hardware(), "memory")
    assert (found.level, found.text[:25]) == (Level.WARN, "256 MiB free of 1.0 GiB; ")


def test_memory_that_the_system_does_not_tell_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def untold() -> None:
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr("psutil.virtual_memory", untold)
    assert memory() is None
    found = named(hardware.check_hardware(), "memory")
    assert (found.level, found.text) == (Level.OK, "the system does not report its size")


def test_gpus_that_torch_does_not_find_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(hardware, "gpu_count", lambda: 2)
    found = named(hardware.check_hardware(), "GPU")
    assert (found.level, found.text[:10]) == (Level.WARN, "2 present,")
    assert "a search fails unless it has --devices cpu" in found.text
    assert "nvidia-smi" in found.fix


def test_slices_that_one_process_does_not_see_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "MIG 1g.10gb")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (2**33, 2**33))
    monkeypatch.setattr(device, "start_kernel", lambda _: None)
    monkeypatch.setattr(kernel_choice, "launch_fault", lambda: None)
    monkeypatch.setattr(kernel_check, "kernel_fault", lambda _: None)
    monkeypatch.setattr(hardware, "gpu_count", lambda: 3)
    assert "3 devices" in named(hardware.check_hardware(), "GPUs").text
    monkeypatch.setattr(hardware, "gpu_count", lambda: 1)
    assert "GPUs" not in {check.name for check in hardware.check_hardware()}


def test_a_gpu_that_torch_is_not_built_for_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def start(_: str) -> None:
        raise torch.AcceleratorError("CUDA error: no kernel image is available for execution")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "Tesla V100")
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (2**33, 2**33))
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: ["sm_75", "sm_80"])
    monkeypatch.setattr(device, "start_kernel", start)
    checks = hardware.check_hardware()
    found = named(checks, "cuda:0")
    assert (found.level, "no kernel image" in found.text) == (Level.FAIL, True)
    assert "install a torch build for it (this one: sm_75, sm_80), or exclude" in found.fix
    # They would be said not to work, and other programs to be the reason.
    assert "kernels" not in {check.name for check in checks}


def test_kernels_that_cannot_start_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(kernel_choice, "launch_fault", lambda: "RuntimeError: no C compiler")
    found = named(hardware.check_hardware(), "kernels")
    assert found.level is Level.WARN
    assert "RuntimeError: no C compiler" in found.text
    assert "gcc" in found.fix
    monkeypatch.setattr(kernel_choice, "launch_fault", lambda: None)
    monkeypatch.setattr(kernel_check, "kernel_fault", lambda _: None)
    assert named(hardware.check_hardware(), "kernels").level is Level.OK


def test_kernels_that_compute_something_else_are_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(kernel_choice, "launch_fault", lambda: None)
    monkeypatch.setattr(kernel_check, "kernel_fault", lambda _: "the step of adam differs")
    found = named(hardware.check_hardware(), "kernels")
    assert found.level is Level.WARN
    assert "the step of adam differs" in found.text
    assert "INDIAN_TUNE_KERNELS=torch" in found.fix


@pytest.mark.gpu
def test_every_gpu_is_told_with_its_memory() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    found = named(hardware.check_hardware(), "cuda:0")
    assert torch.cuda.get_device_name(0) in found.text
    assert "GiB free of" in found.text


@pytest.mark.parametrize(
    ("free", "level"), [(2**31, Level.OK), (2**29, Level.WARN), (2**20, Level.FAIL)]
)
def test_a_disk_that_fills_up_is_told_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40 - free, free))
    url = storage_url(f"sqlite:///{tmp_path / 'study.db'}")
    checks = store.check_disks(url, tmp_path / "not" / "there", tmp_path)
    assert [check.name for check in checks] == ["disk: database", "disk: checkpoints", "disk: data"]
    assert {check.level for check in checks} == {level}
    assert all((check.fix != "") == (level is not Level.OK) for check in checks)


def test_a_server_s_disk_is_not_ours_to_look_at(tmp_path: Path) -> None:
    url = storage_url("postgresql+psycopg://someone@elsewhere/database")
    assert [check.name for check in store.check_disks(url, tmp_path, tmp_path)] == [
        "disk: checkpoints",
        "disk: data",
    ]


def test_a_damaged_data_set_fails_and_missing_ones_do_not(tmp_path: Path) -> None:
    found = store.check_data(tmp_path)
    assert found.level is Level.OK
    assert found.text.startswith(
        "digits, mnist-5k here; mnist, fashion-mnist, cifar10, cifar100 not"
    )
    file = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    file.parent.mkdir()
    file.touch()
    found = store.check_data(tmp_path)
    assert found.level is Level.FAIL
    assert "data_batch_2 is missing" in found.text
    assert "indian-tune data fetch cifar10" in found.fix


def test_a_database_that_cannot_be_made_fails(tmp_path: Path) -> None:
    found = check_new_database(storage_url(f"sqlite:///{tmp_path / 'absent' / 'study.db'}"))
    assert (found.level, "does not exist" in found.text) == (Level.FAIL, True)
    assert list(tmp_path.iterdir()) == []
