"""GPUs that are not there: their tensors lie in the host's memory, and say that they do not.

Every process whose ``sitecustomize`` calls :func:`install` finds as many GPUs as ``SIMULATED_GPUS``
says. The branches of the package for GPUs are then taken, and the bits are those of the CPU. As on
a GPU, tensors of two devices do not mix, and neither does a captured step wait for its device.
Kernels, streams, memory and speed are not simulated; graphs are replayed by calling their step.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from indian_tune.training import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CPU = torch.device("cpu")
VISIBLE = "CUDA_VISIBLE_DEVICES"
GIB = 2**30
# What waits for the device.
WAITS = frozenset(
    {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "nonzero", "equal"}
)
# What may be given a tensor of the host beside one of a GPU.
MIXES = frozenset(
    {"__getitem__", "__setitem__", "copy_", "_foreach_copy_", "__get__", "__set__", "backward"}
    | {"grad", "set_", "_has_compatible_shallow_copy_type"}
)


def gpus() -> int:
    """Return how many GPUs this process sees."""
    present = [str(n) for n in range(int(os.environ["SIMULATED_GPUS"]))]
    named = os.environ.get(VISIBLE)
    names = present if named is None else list(filter(None, named.split(",")))
    return next((n for n, name in enumerate(names) if name not in present), len(names))


def failed(text: str, code: int) -> RuntimeError:
    """Return an error of the CUDA runtime."""
    error = torch.AcceleratorError(f"CUDA error: {text}")
    error.error_code = code  # type: ignore[attr-defined]
    return error


def as_device(thing: object) -> torch.device | None:
    """Return the device that an argument names, ``None`` if it names none."""
    if isinstance(thing, str):
        try:
            thing = torch.device(thing)
        except RuntimeError:
            return None
    if not isinstance(thing, torch.device):
        return None
    return torch.device("cuda", thing.index or 0) if thing.type == "cuda" else thing


class Gpus(TorchFunctionMode):
    """Knows which tensors are said to be on which GPU.

    Attributes:
        capturing: whether a step is captured.
    """

    def __init__(self) -> None:
        super().__init__()
        self.capturing = False
        self._places: Any = WeakTensorKeyDictionary()
        # Made on the CPU by name or by default. Of others, such as those of vmap, nothing is known.
        self._hosts: Any = WeakTensorKeyDictionary()
        self._process: int | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute on the CPU what is asked of any device."""
        del types
        named: dict[str, Any] = dict(kwargs or {})
        # Fake tensors have a device of their own.
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
            return func(*args, **named)
        tensors = [each for each in tree_leaves((args, named)) if isinstance(each, Tensor)]
        place = next(filter(None, map(self._places.get, tensors)), None)
        name = getattr(func, "__name__", "")
        # A descriptor gives another object every time.
        if func == Tensor.device.__get__:
            return place or func(*args)
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return place is not None
        if func == Tensor.data.__set__:  # type: ignore[attr-defined]
            func(*args)
            self._put(args[0], self._places.get(args[1]))
            return None
        if place is not None:
            self._use(place)
            if self.capturing and name in WAITS:
                raise failed(f"operation not permitted when stream is capturing: {name}", 900)
        if name in ("to", "cpu"):
            return self._move(func, args, named, name)
        if named.get("device") is not None:
            place = as_device(named["device"])
            assert place is not None
            if place.type == "cuda":
                self._use(place)
                named["device"] = CPU
        elif place is not None and name not in MIXES:
            if any(each in self._hosts and each.dim() > 0 for each in tensors):
                raise RuntimeError(f"Expected all tensors to be on the same device: {name}")
        elif name in ("copy_", "__setitem__"):
            place = self._places.get(args[0])
        if self.capturing and name == "copy_" and self._places.get(args[1]) != place:
            raise failed("operation not permitted when stream is capturing: copy_", 900)
        result = func(*args, **named)
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and (place is not None or not tensors):
                self._put(each, place)
        return result

    def _move(self, func: Any, args: tuple[Any, ...], named: dict[str, Any], name: str) -> Tensor:
        source, *others = args
        before = self._places.get(source, CPU)
        there = [CPU] if name == "cpu" else [as_device(each) for each in [*others, *named.values()]]
        there += [self._places.get(each, CPU) for each in others if isinstance(each, Tensor)]
        wanted = next(filter(None, there), before)
        if wanted.type == "cuda":
            self._use(wanted)
        if wanted != before and self.capturing:
            raise failed("operation not permitted when stream is capturing: to", 900)
        here = [each if as_device(each) is None else CPU for each in others]
        moved = func(source, *here, **named | ({"device": CPU} if "device" in named else {}))
        if wanted != before and moved.data_ptr() == source.data_ptr():
            moved = moved.clone()
        self._put(moved, wanted)
        return moved  # type: ignore[no-any-return]

    def _put(self, tensor: Tensor, place: torch.device | None) -> None:
        on_gpu = place is not None and place.type == "cuda"
        one, other = (self._places, self._hosts)[:: 1 if on_gpu else -1]
        one[tensor] = place
        other.pop(tensor, None)

    def _use(self, place: torch.device) -> None:
        if place.index >= gpus():
            raise failed("invalid device ordinal", 101)
        self._process = self._process or os.getpid()
        if self._process != os.getpid():
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess")


class _Current:
    """As ``torch.cuda.device``: which device is meant matters for nothing that is simulated."""

    def __init__(self, device: object) -> None:
        del device

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def install() -> None:
    """Have GPUs in this process and those that it forks; to be called once."""
    simulated = Gpus()

    def captured(
        step: Callable[[], None], rewind: Callable[[], object], device: torch.device
    ) -> Callable[[], None]:
        if device.type == "cuda":
            capture.warm_up(step, rewind)
            simulated.capturing = True
            try:
                step()
            finally:
                simulated.capturing = False
            # Unlike here, nothing is computed by a step that is captured.
            rewind()
        return step

    # Not `autocast` itself, of which there are subclasses.
    autocast = torch.autocast.__init__

    def autocast_here(self: Any, device_type: str, *args: Any, **named: Any) -> None:
        del device_type
        autocast(self, "cpu", *args, **named)

    state = torch.zeros(16, dtype=torch.uint8)
    instead: Mapping[str, object] = {
        "is_available": lambda: gpus() > 0,
        "device_count": gpus,
        "current_device": lambda: 0,
        "device": _Current,
        "get_device_name": lambda _=None: "Simulated GPU",
        "mem_get_info": lambda _=None: (79 * GIB, 80 * GIB),
        "max_memory_reserved": lambda _=None: GIB,
        # A generator of the GPU is that of the CPU, which is seeded alike.
        "get_rng_state": lambda _=None: state.clone(),
        "set_rng_state": lambda *_: None,
        "manual_seed": lambda _: None,
        "is_current_stream_capturing": lambda: simulated.capturing,
        **dict.fromkeys(
            ("synchronize", "empty_cache", "reset_peak_memory_stats"), lambda _=None: None
        ),
    }
    for name, value in instead.items():
        setattr(torch.cuda, name, value)
    torch.autocast.__init__ = autocast_here  # type: ignore[method-assign]
    optimizer: Any = torch.optim.Optimizer
    optimizer._accelerator_graph_capture_health_check = lambda self: None
    capture.captured = captured
    simulated.__enter__()  # type: ignore[no-untyped-call]
