"""What code of the user's may switch for the whole process, and later trials would inherit."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from indian_tune.training.float32 import read_float32, write_float32

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


def _signal_handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_signal_handlers(wanted: dict[int, Any]) -> None:
    # Python allows it in no other thread, where it has not allowed the change either.
    if threading.current_thread() is threading.main_thread():
        for number, handler in wanted.items():
            # A handler that is not Python's cannot be named, and so cannot be set again.
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


def _set_warning_filters(wanted: list[Any]) -> None:
    # Also makes Python forget which warnings it has shown.
    warnings.resetwarnings()
    # A list, which the standard library's types do not say.
    filters: Any = warnings.filters
    filters[:] = wanted


_CUDNN = ("enabled", "benchmark", "deterministic")


def _cudnn() -> tuple[bool, ...]:
    return tuple(getattr(torch._C, f"_get_cudnn_{name}")() for name in _CUDNN)


def _set_cudnn(wanted: tuple[bool, ...]) -> None:
    for name, value in zip(_CUDNN, wanted, strict=True):
        # torch.backends.cudnn can be told to refuse, as torch's own tests do.
        getattr(torch._C, f"_set_cudnn_{name}")(value)


# What is it called, how is it read, how is it set.
_SWITCHES: tuple[tuple[str, Callable[[], Any], Callable[[Any], object]], ...] = (
    ("the grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    ("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    ("the default device", torch.get_default_device, _set_default_device),
    ("the number of threads", torch.get_num_threads, torch.set_num_threads),
    (
        "deterministic algorithms",
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
    ),
    ("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (
        "autocast on the CPU",
        lambda: torch.is_autocast_enabled("cpu"),
        lambda on: torch.set_autocast_enabled("cpu", on),
    ),
    ("the precision of float32 products", read_float32, write_float32),
    ("the switches of cuDNN", _cudnn, _set_cudnn),
    ("the warning filters", lambda: list(warnings.filters), _set_warning_filters),
    ("the signal handlers", _signal_handlers, _set_signal_handlers),
    ("numpy's handling of errors", np.geterr, lambda each: np.seterr(**each)),
    ("the current folder", _folder, lambda path: None if path is None else os.chdir(path)),
    ("the environment", _environment, _set_environment),
)


class GlobalState:
    """The state of this process at one moment, to which it can be brought back."""

    def __init__(self) -> None:
        # Own code may have left settings that contradict each other, which raise when asked for.
        write_float32(read_float32())
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
                told = "" if isinstance(value, dict | list) else f" from {value} to {now}"
                # Libraries, too, add filters of warnings when they are imported.
                level = logging.INFO if isinstance(value, list) else logging.WARNING
                log.log(
                    level, "%s changed %s%s for the whole process: changed back", after, name, told
                )
        if randomness:
            random.setstate(self._python)
            np.random.set_state(self._numpy)
