"""What code of the user's may switch for the whole process, and later trials would inherit."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

# Set by libraries for themselves when they are loaded or used for the first time.
_OF_LIBRARIES = ("CUDA", "CUBLAS", "KMP_", "OMP_", "RAY_", "TORCH", "PYTORCH", "TRITON")


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_OF_LIBRARIES)}


def _set_environment(wanted: dict[str, str]) -> None:
    for key in _environment().keys() - wanted.keys():
        del os.environ[key]
    os.environ.update(wanted)


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _set_default_device(device: torch.device) -> None:
    # To name the usual device would slow down everything that makes a tensor.
    torch.set_default_device(None if device.type == "cpu" else device)


# What is it called, how is it read, how is it set.
_SWITCHES: tuple[tuple[str, Callable[[], Any], Callable[[Any], object]], ...] = (
    ("the grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    ("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("the default device", torch.get_default_device, _set_default_device),
    ("the number of threads", torch.get_num_threads, torch.set_num_threads),
    (
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    ("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (
        "autocast on the CPU",
        lambda: torch.is_autocast_enabled("cpu"),
        lambda on: torch.set_autocast_enabled("cpu", on),
    ),
    ("numpy's handling of errors", np.geterr, lambda each: np.seterr(**each)),
    ("the current folder", _folder, lambda path: None if path is None else os.chdir(path)),
    ("the environment", _environment, _set_environment),
)


class GlobalState:
    """The state of this process at one moment, to which it can be brought back."""

    def __init__(self) -> None:
        self._values = [read() for _, read, _ in _SWITCHES]
        self._python = random.getstate()
        self._numpy = np.random.get_state()

    def restore(self, after: str, *, randomness: bool = True) -> None:
        """Bring the process back, and report what was changed.

        Args:
            after: what may have changed it, such as a trial, in words for the log.
            randomness: whether Python's and numpy's global generators start again too. Those of
                torch are seeded wherever a run uses them.
        """
        for (name, read, set_to), value in zip(_SWITCHES, self._values, strict=True):
            if (now := read()) != value:
                set_to(value)
                told = "" if isinstance(value, dict) else f" from {value} to {now}"
                log.warning(
                    "%s changed %s%s for the whole process: changed back", after, name, told
                )
        if randomness:
            random.setstate(self._python)
            np.random.set_state(self._numpy)
