"""The package's kernels are what torch computes, and what a GPU could run, without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from indian_tune.optim import FAMILIES, kernel_choice, packed_kernel
from indian_tune.optim.kernel_choice import SWITCH, uses_kernels
from indian_tune.training import kernel_check

ROOT = Path(__file__).parents[2]


def found(tmp_path: Path, **variables: str) -> dict[str, Any]:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), **variables}
    command = [sys.executable, "-m", "tests.training.kernels"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found(tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


def test_in_tritons_interpreter_they_compute_what_torch_computes(report: dict[str, Any]) -> None:
    packed = [name for name, family in FAMILIES.items() if family.packed is not None]
    for family in packed:
        assert f"{family}, none" in report["distances"]
    assert {case: far for case, far in report["distances"].items() if not far < 5e-7} == {}
    assert len(report["networks"]) == 3
    assert {case: far for case, far in report["networks"].items() if not far < 1e-5} == {}
    # Rows that one program sums, and rows that several do.
    assert len(report["biases"]) == 12
    for case, checks in report["biases"].items():
        assert checks == dict.fromkeys(checks, True), case
    for masks in report["masks"].values():
        assert masks == {"values": True, "gradients": True, "some are dropped": True}


def test_the_check_of_a_gpu_names_the_kernel_that_is_wrong(report: dict[str, Any]) -> None:
    checks = report["checks"]
    assert checks.pop("none") is None
    for name, part in {
        "packed_step": "the step of indian differs from torch's by ",
        "mask": "a network in float32, computed by grouped, differs from torch's by ",
        "bias_relu": "a network in float32, computed by grouped, differs from torch's by ",
        "_bias_relu": "ZeroDivisionError: division by zero",
    }.items():
        assert part in checks.pop(name)
    assert checks == {}


def test_kernels_that_are_wrong_are_left_aside(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class OnCuda:
        is_cuda, dtype = True, torch.float32

    on_cuda: Any = OnCuda()
    monkeypatch.setattr(kernel_choice, "_starts", lambda: True)
    monkeypatch.setattr(kernel_choice, "_faults", [])
    monkeypatch.setattr(torch, "empty", lambda *_, **__: on_cuda)
    monkeypatch.setattr(kernel_check, "_compared", set())
    said = iter([torch.OutOfMemoryError("CUDA out of memory"), "the step of adam differs"])

    def fault(_: object) -> Any:
        found = next(said)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(kernel_check, "kernel_fault", fault)
    device = torch.device("cuda", 7)
    # While the memory does not suffice, nothing is found out.
    kernel_check.require_kernels(device)
    assert uses_kernels(on_cuda)
    for _ in range(2):
        kernel_check.require_kernels(device)
    assert not uses_kernels(on_cuda)
    (message,) = caplog.messages
    assert "do not work on this GPU (the step of adam differs)" in message
    assert "indian-tune doctor" in message


@pytest.mark.slow
def test_they_are_compiled_for_a_gpu_without_one(tmp_path: Path) -> None:
    sizes = found(tmp_path)["compiled"]
    assert len(sizes) == len(packed_kernel.RULES) * len(packed_kernel.DECAYS) + 2 + 6
    assert min(sizes.values()) > 0


def test_every_packed_family_has_a_kernel() -> None:
    for family in FAMILIES.values():
        assert family.packed is None or family.packed.rule in packed_kernel.RULES


def test_they_are_used_on_cuda_alone_and_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OnCuda:
        is_cuda, dtype = True, torch.float32

    on_cuda: Any = OnCuda()
    monkeypatch.setattr(kernel_choice, "_starts", lambda: True)
    assert not uses_kernels(torch.zeros(1))
    assert uses_kernels(on_cuda)
    monkeypatch.setenv(SWITCH, "torch")
    assert not uses_kernels(on_cuda)
    monkeypatch.delenv(SWITCH)
    monkeypatch.setattr(kernel_choice, "_has_triton", lambda: False)
    assert not uses_kernels(on_cuda)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
        subprocess.CalledProcessError(1, ["gcc", "driver.c"]),
    ],
)
def test_torch_is_used_where_triton_cannot_start(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class OnCuda:
        is_cuda, dtype = True, torch.float32

    class Driver:
        @property
        def active(self) -> Any:
            raise error

    on_cuda: Any = OnCuda()
    monkeypatch.setattr("triton.runtime.driver", Driver())
    kernel_choice._starts.cache_clear()
    try:
        assert not uses_kernels(on_cuda)
        assert not uses_kernels(on_cuda)
    finally:
        kernel_choice._starts.cache_clear()
    (message,) = caplog.messages
    assert type(error).__name__ in message
    assert "Install a C compiler such as gcc, or set INDIAN_TUNE_KERNELS=torch" in message
