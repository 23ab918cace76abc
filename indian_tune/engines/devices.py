"""Which devices there are, and how many workers each gets. Loads no torch."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

_VISIBLE = "CUDA_VISIBLE_DEVICES"
# What a driver for NVIDIA GPUs puts into the system, the last one under WSL.
_SIGNS = ("/dev/nvidia0", "/proc/driver/nvidia/gpus", "/dev/dxg")
# A line of `nvidia-smi --list-gpus`: a GPU, or, indented, a slice of the GPU above (MIG).
_LINE = re.compile(r"(?P<kind>GPU|\s+MIG)\s.*\(UUID: (?P<uuid>[^)]+)\)")


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
    elif names == ["cpu"] and workers > 1 and workers * threads > cores():
        _warn_once(
            f"--workers = {workers} with {counted(threads, 'thread')} each is more than the "
            f"{counted(cores(), 'CPU core')} here: they share them, and train no faster than "
            f"{max(1, cores() // threads)}"
        )
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
    if device == "cpu":
        os.environ[_VISIBLE] = ""
        return device
    # Where none can be listed, what the environment names is still what CUDA would count.
    names = _names_of_gpus() or _visible() or []
    number = int(device.removeprefix("cuda:"))
    # What is known by no name is counted by CUDA itself.
    os.environ[_VISIBLE] = names[number] if number < len(names) else str(number)
    return "cuda:0"


def check_unconfined(device: str) -> None:
    """Check that a process that is not confined can use a device.

    Args:
        device: ``cpu`` or ``cuda:N``.

    Raises:
        InputError: GPUs are in slices, and CUDA shows such a process the first one alone.
    """
    names = _names_of_gpus()
    number = 0 if device == "cpu" else int(device.removeprefix("cuda:"))
    if 0 < number < len(names) and any(name.startswith("MIG-") for name in names):
        raise InputError(
            f"--devices = {device} cannot be used by --engine inline: GPUs here are in slices "
            "(MIG), and a process sees the first one alone. Use --engine optuna, or set "
            f"{_VISIBLE}={names[number]} and name cuda:0"
        )


def gpu_count() -> int:
    """Return how many NVIDIA GPUs, or slices of them, this process may use; 0 without a driver."""
    return len(_names_of_gpus())


def show_gpus() -> int:
    """Return how many GPUs or slices a program that shares them out, such as Ray, can use.

    Slices are named in the environment, in which it finds them: it does not count them itself.
    """
    names = _names_of_gpus()
    if any(name.startswith("MIG-") for name in names):
        os.environ[_VISIBLE] = ",".join(names)
    return len(names)


def _names_of_gpus() -> list[str]:
    """Return what CUDA calls each GPU that this process may use."""
    visible = _visible()
    if visible is not None and not visible:
        return []
    lines = _lines()
    if visible is None:
        return _listed(lines)
    numbers = sum(line.startswith("GPU ") for line in lines)
    for count, name in enumerate(visible):
        # As CUDA does: the first number that is not there ends the list.
        if name.lstrip("-").isdigit() and not 0 <= int(name) < numbers:
            return visible[:count]
    return visible if numbers else []


def _visible() -> list[str] | None:
    """Return what the environment restricts CUDA to, ``None`` when it does not."""
    names = os.environ.get(_VISIBLE)
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def _listed(lines: Sequence[str]) -> list[str]:
    """Return what CUDA calls each GPU: its number, or of a GPU in slices the UUID of each.

    A process sees one slice at most, so slices can only be named.
    """
    names: list[str] = []
    number = -1
    for line in map(_LINE.match, lines):
        if line is None:
            continue
        if line["kind"] == "GPU":
            number += 1
            names.append(str(number))
        else:
            if names[-1] == str(number):
                del names[-1]
            names.append(line["uuid"])
    return names


def _countless() -> bool:
    """Whether there may be GPUs that cannot be counted."""
    hidden = _visible() == []
    return not hidden and any(Path(sign).exists() for sign in _SIGNS)


def _lines() -> list[str]:
    """Return what lists the GPUs; nothing, and a warning if there are signs of any, if it fails."""
    tool = shutil.which("nvidia-smi")
    fault = "nvidia-smi is not on the PATH"
    if tool is not None:
        try:
            listed = subprocess.run(  # noqa: S603 - a fixed command
                [tool, "--list-gpus"], capture_output=True, text=True, timeout=30, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            fault = f"nvidia-smi fails ({error})"
        else:
            return listed.stdout.splitlines()
    sign = next((sign for sign in _SIGNS if Path(sign).exists()), None)
    if sign is not None:
        _warn_once(
            f"{fault}, so GPUs cannot be counted, although {sign} exists: runs are trained on the "
            "CPU unless you name the GPUs, such as --devices cuda:0,cuda:1"
        )
    return []


@cache
def _warn_once(text: str) -> None:
    logger.warning("%s", text)


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
                f"{option} = {devices!r}: {name!r} is not a device: use auto, cpu, or cuda:0, "
                "cuda:1, …"
            )
        if not present and _countless():
            # Whether it is there is for torch to say.
            continue
        if int(name.removeprefix("cuda:")) >= present:
            raise InputError(
                f"{option} = {devices!r}: {name} does not exist: this machine has {present} GPUs"
            )
    return names
