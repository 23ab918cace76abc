"""Which devices there are, and how many workers each gets. Loads no torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from indian_tune.errors import InputError

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def worker_devices(
    devices: str,
    workers: int | None,
    threads: int,
    options: tuple[str, str] = ("--devices", "--threads-per-worker"),
) -> list[str]:
    """Return the device of every worker.

    Args:
        devices: ``auto`` (every GPU, or the CPU when there is none), ``cpu``, or a list such as
            ``cuda:0,cuda:1``.
        workers: how many in all; by default one per GPU, or as many as the cores allow.
        threads: CPU threads of each worker.
        options: with which devices and threads were given.

    Raises:
        InputError: a device is not known here, or a number is below one.
    """
    for name, value in (("--workers", workers), (options[1], threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} = {value} must be at least 1")
    names = _names(devices, options[0])
    if workers is None:
        workers = max(1, cores() // threads) if names == ["cpu"] else len(names)
    return [names[n % len(names)] for n in range(workers)]


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def confine(device: str) -> str:
    """Let this process see the GPU of one device alone, or none for the CPU.

    Must be called before CUDA is used here. Never in a process that starts others: what they see
    would be counted from what it sees.

    Args:
        device: ``cpu`` or ``cuda:N``, counted among the GPUs that this process sees now.

    Returns:
        What torch calls the device from now on.
    """
    visible = _visible()
    if device == "cpu":
        os.environ[_VISIBLE] = ""
        return device
    number = int(device.removeprefix("cuda:"))
    os.environ[_VISIBLE] = str(number) if visible is None else visible[number]
    return "cuda:0"


def gpu_count() -> int:
    """Return how many NVIDIA GPUs this process may use; 0 without a driver."""
    visible = _visible()
    present = _listed() if visible is None or visible else 0
    if visible is None:
        return present
    for count, name in enumerate(visible):
        # As CUDA does: the first number that is not there ends the list.
        if name.lstrip("-").isdigit() and not 0 <= int(name) < present:
            return count
    return len(visible) if present else 0


def _visible() -> list[str] | None:
    """Return what the environment restricts CUDA to, ``None`` when it does not."""
    names = os.environ.get(_VISIBLE)
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def _listed() -> int:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        listed = subprocess.run(  # noqa: S603 - a fixed command
            [tool, "--list-gpus"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def _names(devices: str, option: str) -> list[str]:
    present = gpu_count() if devices != "cpu" else 0
    if devices == "auto":
        return [f"cuda:{n}" for n in range(present)] or ["cpu"]
    names = [name.strip() for name in devices.split(",")]
    for name in names:
        if name == "cpu":
            continue
        if not re.fullmatch(r"cuda:\d+", name):
            raise InputError(
                f"{option} = {devices!r}: {name!r} is not a device; allowed are auto, cpu and "
                "cuda:0, cuda:1, …"
            )
        if int(name.removeprefix("cuda:")) >= present:
            raise InputError(
                f"{option} = {devices!r}: {name} is not here; this machine has {present} GPUs"
            )
    return names
