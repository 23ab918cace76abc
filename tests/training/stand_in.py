"""A GPU that is not there: what a packed step would ask of it, found out on a CPU.

torch's PrivateUse1 backend stands in for the GPU. A device of that type has no kernels, but under
FakeTensorMode it carries shapes, types and strides and, unlike "cuda" without a driver, autograd.
Registering the backend cannot be undone, so this belongs into a process of its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch._prims_common import suggest_memory_format
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves

from indian_tune.training.counting import OperationCounter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NAME = "gpu"
# Its name from the beginning, whether it has got another one yet or not.
GPU = torch.device("privateuseone", 0)
# On CUDA these add atomically, so that bits differ from time to time.
ATOMIC = (
    *("index_add", "index_put", "scatter_add", "scatter_reduce", "embedding_dense_backward"),
    *("upsample", "adaptive_max_pool", "adaptive_avg_pool2d_backward", "put_", "bincount"),
    *("reflection_pad", "replication_pad", "grid_sampler", "cumsum", "histc", "max_unpool"),
)


class Watch(OperationCounter):  # type: ignore[no-untyped-call]
    """Sees every operation of a block, and counts them.

    Attributes:
        faults: what a stream under capture, or the promise of equal bits, would not bear. What
            waits for the device (item, nonzero, bool) raises in FakeTensorMode by itself.
        calls: operations with the numbers that they are given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: set[str] = set()
        self.calls: list[tuple[object, ...]] = []

    def count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Count an operation that was called, and look for faults."""
        super().count(func, args, kwargs, out)
        name = str(func)
        leaves = tree_leaves((args, kwargs))
        tensors = [each for each in (*leaves, *tree_leaves(out)) if isinstance(each, Tensor)]
        if {each.device.type for each in tensors} - {GPU.type, NAME}:
            self.faults.add(f"{name} touches the host's memory")
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.faults.add(f"{name} draws from the global generator")
        if any(part in name for part in ATOMIC):
            self.faults.add(f"{name} is not deterministic on CUDA")
        numbers = (each for each in leaves if isinstance(each, bool | int | float))
        self.calls.append((name, *numbers))


@contextmanager
def no_gpu() -> Iterator[None]:
    """Have a device "gpu" within the block, on which nothing is computed."""
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.autograd.set_multithreading_enabled(False),
    ):
        yield


def install() -> None:
    """Register the device; to be called once in a process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    # Else single numbers are computed for good, for which there are no kernels.
    fake_tensor.CONSTANT_NUMEL_LIMIT = 0
    nn.Module._apply = _apply  # type: ignore[method-assign]
    torch._C._conv_determine_backend_memory_format = _layout_of_convolution  # type: ignore[assignment]


def _layout_of_convolution(inputs: Tensor, weight: Tensor, _backend: object) -> torch.memory_format:
    """Return the layout of a convolution's output on CUDA, where the stand-in has another one."""
    # With one channel for each group torch has a kernel of its own, else cuDNN computes it.
    if weight.shape[1] == 1 < inputs.shape[1]:
        return torch.contiguous_format
    layouts = map(suggest_memory_format, (inputs, weight))
    return torch.channels_last if torch.channels_last in layouts else torch.contiguous_format


def _apply(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """As nn.Module's, but fake parameters can neither be swapped nor given other data."""
    del recurse
    for module in self.modules():
        for name, each in module._parameters.items():
            if each is not None:
                module._parameters[name] = nn.Parameter(fn(each.detach()), each.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fn(buffer)
    return self


def tensors_of(thing: object, path: str = "", seen: set[int] | None = None) -> dict[str, Tensor]:
    """Return every tensor that an object of the package holds, by its path."""
    seen = set() if seen is None else seen
    if isinstance(thing, Tensor):
        return {path: thing}
    if id(thing) in seen:
        return {}
    seen.add(id(thing))
    if isinstance(thing, dict):
        parts = thing.items()
    elif isinstance(thing, list | tuple):
        parts = dict(enumerate(thing)).items()
    elif type(thing).__module__.startswith("indian_tune.") and hasattr(thing, "__dict__"):
        parts = vars(thing).items()
    else:
        return {}
    found: dict[str, Tensor] = {}
    for name, part in parts:
        found |= tensors_of(part, f"{path}.{name}" if path else str(name), seen)
    return found


def faults_of_steps(
    holder: object, steps: Sequence[Callable[[], object]], watch: Watch
) -> set[str]:
    """Take steps that must be alike, as the replays of one captured graph are.

    Args:
        holder: of all tensors that the steps read and write.
        steps: the same, once and again.
        watch: sees the first.
    """
    held, faults = tensors_of(holder), set()
    watches = [watch, *(Watch() for _ in steps[1:])]
    for step, each in zip(steps, watches, strict=True):
        try:
            with each:
                step()
        except Exception as error:  # noqa: BLE001 - what the stand-in cannot bear, whatever it is
            text = str(error).strip().partition("\n")[0]
            return each.faults | {f"waits for the device or mixes devices: {text}"}
        faults |= each.faults
        now = tensors_of(holder)
        faults |= {
            f"{n} is another tensor after a step" for n, t in held.items() if now.get(n) is not t
        }
        faults |= {f"{n} is kept by a step" for n in now.keys() - held.keys()}
    if any(each.calls != watch.calls for each in watches):
        faults.add("steps differ: a number of one is no tensor, or a branch depends on it")
    return faults
