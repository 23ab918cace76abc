"""Process-wide settings that a user's code may change, restored between trials."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import socket
import sys
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


# What reads and what sets a choice of torch's between kernels, which may differ in their bits.
_KERNELS = tuple(
    (getattr(torch._C, read), getattr(torch._C, write))
    for read, write in (
        ("_get_cudnn_enabled", "_set_cudnn_enabled"),
        ("_get_cudnn_benchmark", "_set_cudnn_benchmark"),
        ("_get_cudnn_deterministic", "_set_cudnn_deterministic"),
        ("_get_mkldnn_enabled", "_set_mkldnn_enabled"),
        ("_get_flash_sdp_enabled", "_set_sdp_use_flash"),
        ("_get_mem_efficient_sdp_enabled", "_set_sdp_use_mem_efficient"),
        ("_get_math_sdp_enabled", "_set_sdp_use_math"),
        ("_get_cudnn_sdp_enabled", "_set_sdp_use_cudnn"),
    )
    if hasattr(torch._C, read) and hasattr(torch._C, write)
)


def _kernels() -> tuple[bool, ...]:
    return tuple(read() for read, _ in _KERNELS)


def _set_kernels(wanted: tuple[bool, ...]) -> None:
    # torch.backends can be told to refuse, as torch's own tests do.
    for (_, write), value in zip(_KERNELS, wanted, strict=True):
        write(value)


_AUTOCAST = ("cpu", "cuda")


def _autocast() -> tuple[Any, ...]:
    return tuple((torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in _AUTOCAST)


def _set_autocast(wanted: tuple[Any, ...]) -> None:
    for device, (on, dtype) in zip(_AUTOCAST, wanted, strict=True):
        torch.set_autocast_enabled(device, on)
        torch.set_autocast_dtype(device, dtype)


_SMALLEST, _ONE = 5e-324, 1.0


def _flushes_denormals() -> bool:
    # torch does not say so; it holds for every product of this thread.
    return _SMALLEST * _ONE == 0.0


_HOOKS = tuple(
    hooks
    for name, hooks in vars(torch.nn.modules.module).items()
    if name.startswith("_global_") and isinstance(hooks, dict)
)


def _module_hooks() -> dict[int, dict[int, Any]]:
    return {n: dict(hooks) for n, hooks in enumerate(_HOOKS)}


def _set_module_hooks(wanted: dict[int, dict[int, Any]]) -> None:
    for n, hooks in enumerate(_HOOKS):
        hooks.clear()
        hooks.update(wanted[n])


def _streams() -> dict[str, Any]:
    return {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}


def _set_streams(wanted: dict[str, Any]) -> None:
    for name, stream in wanted.items():
        setattr(sys, name, stream)


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
    ("autocast", _autocast, _set_autocast),
    ("the flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
    ("the precision of float32 products", read_float32, write_float32),
    ("the choice of kernels", _kernels, _set_kernels),
    ("the hooks of all modules", _module_hooks, _set_module_hooks),
    ("the warning filters", lambda: list(warnings.filters), _set_warning_filters),
    ("the signal handlers", _signal_handlers, _set_signal_handlers),
    ("numpy's handling of errors", np.geterr, lambda each: np.seterr(**each)),
    ("the current folder", _folder, lambda path: None if path is None else os.chdir(path)),
    ("the environment", _environment, _set_environment),
    ("garbage collection", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    ("the level up to which logging is off", lambda: logging.root.manager.disable, logging.disable),
    ("the time limit of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
    ("the standard streams", _streams, _set_streams),
)
# What no arithmetic depends on, and another thread of the program may rightly change meanwhile.
_OF_THE_PROGRAM = (
    *("the warning filters", "the signal handlers", "the environment", "garbage collection"),
    *("the level up to which logging is off", "the time limit of sockets", "the standard streams"),
)


def _others_run() -> bool:
    """Whether other threads run, of which the program's end would wait."""
    here = threading.current_thread()
    return any(thread is not here and not thread.daemon for thread in threading.enumerate())


class GlobalState:
    """The state of this process at one moment, to which it can be brought back."""

    def __init__(self) -> None:
        # Own code may have left settings that contradict each other, which raise when asked for.
        write_float32(read_float32())
        self._values = [read() for _, read, _ in _SWITCHES]
        self._others = _others_run()
        self._python = random.getstate()
        self._numpy = np.random.get_state()

    def restore(self, after: str, *, randomness: bool = True) -> None:
        """Bring the process back, and report what was changed.

        While other threads of the program run, what was changed may be theirs: of that only what
        the bits of a run may depend on is changed back.

        Args:
            after: what may have changed it, such as a trial, in words for the log.
            randomness: whether Python's and numpy's global generators start again too. Those of
                torch are seeded wherever a run uses them.
        """
        others, self._others = self._others, _others_run()
        others |= self._others
        if others:
            after += ", or another thread of the program,"
        for n, ((name, read, set_to), value) in enumerate(
            zip(_SWITCHES, self._values, strict=True)
        ):
            if (now := read()) != value:
                if others and name in _OF_THE_PROGRAM:
                    log.debug("%s changed %s for the whole process", after, name)
                    self._values[n] = now
                    continue
                set_to(value)
                told = "" if isinstance(value, dict | list) else f" from {value} to {now}"
                # Libraries, too, add filters of warnings when they are imported: torch does.
                level = logging.DEBUG if isinstance(value, list) else logging.WARNING
                log.log(
                    level,
                    "%s changed %s%s for the whole process: changed back",
                    after,
                    name,
                    told,
                )
        if randomness:
            random.setstate(self._python)
            np.random.set_state(self._numpy)
