"""What a packed step comes to on a GPU, counted on a CPU: kernels, bytes and products."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from indian_tune.optim.kernel_choice import kernels_assumed
from indian_tune.training.feed import Feed
from indian_tune.training.live import Setup
from indian_tune.training.pack import Pack
from indian_tune.training.pack_evaluation import batch_size
from indian_tune.training.packable import packing_fault
from indian_tune.training.probe import signatures_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.problems.problem import Problem
    from indian_tune.training.pack import PackSignature
    from indian_tune.training.precision import Precision
    from indian_tune.training.run import Run

CPU = torch.device("cpu")
# What only makes memory or another view of it starts no kernel.
FREE = (
    "_unsafe_view",
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
    "detach",
    "lift",
)
FREE_NAMESPACES = ("prim", "profiler")
# What starts more than one kernel, as a rule: most fill their result first, with zeros or the bias.
KERNELS = {
    "baddbmm": 2,
    "constant_pad_nd": 2,
    "isfinite": 4,
    "max_pool2d_with_indices_backward": 2,
    "native_batch_norm": 3,
    "native_batch_norm_backward": 2,
    "nll_loss_backward": 2,
    "select_backward": 2,
    "slice_backward": 2,
    "unfold_backward": 2,
}
# How often some of these read and write their result beside once: a product is added to the bias.
TOUCHED_AGAIN = {
    "baddbmm": 2,
    "constant_pad_nd": 1,
    "max_pool2d_with_indices_backward": 1,
    "nll_loss_backward": 1,
    "unfold_backward": 1,
}
# Tensors that one kernel concatenates.
CONCATENATED = 128


@dataclass(frozen=True)
class Counts:
    """What some operations come to on a GPU.

    Attributes:
        launches: kernels.
        bytes: read and written by them.
        flops: of products and convolutions.
    """

    launches: float
    bytes: float
    flops: float

    def plus(self, other: Counts, times: float) -> Counts:
        """Return these and some times as much as others."""
        return Counts(
            self.launches + times * other.launches,
            self.bytes + times * other.bytes,
            self.flops + times * other.flops,
        )

    def times(self, launches: float, work: float) -> Counts:
        """Return some times as many kernels that do some times as much in all."""
        return Counts(launches * self.launches, work * self.bytes, work * self.flops)


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of a block.

    Attributes:
        launches: kernels by the operation that starts them.
        flops: of products and convolutions.
        bytes: read and written by all kernels.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches: Counter[str] = Counter()
        self.flops = 0
        self.bytes = 0

    @property
    def counts(self) -> Counts:
        """What was counted so far."""
        return Counts(self.launches.total(), self.bytes, self.flops)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.namespace not in FREE_NAMESPACES:
            self.count(func, args, kwargs, out)
        return out

    def count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Count an operation that was called."""
        started = launches_of(func, args)
        if started:
            # What is written to is returned as well.
            read = {key: each for key, each in kwargs.items() if key != "out"}
            tensors = [x for x in tree_leaves((args, read, out)) if isinstance(x, Tensor)]
            name = func.overloadpacket.__name__
            self.launches[name] += started
            self.bytes += sum(_bytes(each) for each in tensors)
            if name in TOUCHED_AGAIN:
                self.bytes += TOUCHED_AGAIN[name] * _bytes(out)
            self.flops += _flops(func, args, kwargs, out)


def launches_of(func: Any, args: tuple[Any, ...]) -> int:
    """Return how many kernels an operation starts on CUDA, as a rule; 0 for a view."""
    name = func.overloadpacket.__name__
    if func.is_view or name in FREE or func.namespace in FREE_NAMESPACES:
        return 0
    if name == "convolution":
        # The bias is added by a kernel of its own.
        return 1 + int(args[2] is not None) + _copies(args[0], args[1])
    if name == "convolution_backward":
        grad, inputs, weight, *_, wanted = args
        return int(sum(wanted)) + _copies(inputs, weight if wanted[0] else None, grad)
    if name == "cat":
        return -(-len(args[0]) // CONCATENATED)
    if name == "nll_loss_forward":
        # Without a reduction it fills the sum of the weights.
        return 1 + int(args[3] == 0)
    return KERNELS.get(name, 1)


def _copies(inputs: Tensor, weight: Tensor | None, *others: Tensor) -> int:
    """Return how many tensors a convolution copies to the layout of its inputs."""
    grouped = inputs.dim() == 4 and weight is not None and weight.shape[1] < inputs.shape[1]
    if grouped and weight is not None and weight.shape[1] == 1:
        # Of one channel for each group: by a kernel of torch, for inputs row by row.
        return int(not inputs.is_contiguous())
    if inputs.dim() != 4 or inputs.is_contiguous():
        return 0
    last = (each for each in (weight, *others) if each is not None)
    return sum(not each.is_contiguous(memory_format=torch.channels_last) for each in last)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _flops(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    from torch.utils.flop_counter import flop_registry

    if func.overloadpacket.__name__ == "convolution_backward":
        # torch's own count takes the groups of a convolution for one.
        (grad, _, weight), wanted = args[:3], args[-1]
        return int(2 * grad.numel() * weight[0].numel() * sum(wanted[:2]))
    count = flop_registry.get(func.overloadpacket)
    return 0 if count is None else int(count(*args, **kwargs, out_val=out))


class PackCounter:
    """Counts packs of runs on a GPU that need not be there.

    Tensors have shapes and no values, so nothing is computed, and memory is taken for the
    examples alone.

    Args:
        problem: its training examples stand for all; their values have no meaning.
        precision: of the arithmetic.
        augmented: whether training images are cropped and flipped.
    """

    def __init__(self, problem: Problem, precision: Precision, *, augmented: bool) -> None:
        feed = Feed(problem.train.first(1), problem, CPU, precision.dtype)
        self._setup = Setup(problem, CPU, precision, feed, feed, None, feed, augmented)

    def kind(self, run: Run) -> object:
        """Return what runs of one kind of pack have in common."""
        return _signature(run)

    def fault(self, run: Run, convolutions: str) -> str | None:
        """Return why a run is trained one by one, ``None`` if it can be packed."""
        return packing_fault(_signature(run), self._setup, convolutions)

    def step(self, run: Run, lanes: int, convolutions: str) -> Counts:
        """Return what a training step of all lanes of a pack comes to.

        Args:
            run: as all that are packed; it can be.
            lanes: K.
            convolutions: see :func:`indian_tune.training.stacked_forward.make_forward`.
        """
        counter = OperationCounter()
        with self._pack(run, lanes, convolutions) as pack, counter:
            pack.step()
        return counter.counts

    def evaluation(self, run: Run, lanes: int, convolutions: str) -> tuple[Counts, int]:
        """Return what measuring a batch in all lanes comes to, and how many inputs of each it has.

        Args:
            run: as for :meth:`step`, like the others.
            lanes: K.
            convolutions: how they are computed.
        """
        with self._pack(run, lanes, convolutions) as pack:
            # The first time makes what is kept.
            pack.dry_measure()
            training_and_test = OperationCounter()
            with training_and_test:
                pack.dry_measure()
        both = training_and_test.counts
        return both.times(1 / 2, 1 / 2), batch_size(len(self._setup.problem.train), lanes)

    @contextmanager
    def _pack(self, run: Run, lanes: int, convolutions: str) -> Iterator[Pack]:
        """Make a pack whose tensors have no values."""
        # Loads SymPy, which takes a second.
        from torch._subclasses.fake_tensor import FakeTensorMode

        signature, precision = _signature(run), self._setup.precision
        problem = self._setup.problem
        network = problem.build_model(seed=0, dropout=signature.dropout).to(CPU, precision.dtype)
        part = problem.train.first(signature.batch_size)
        measured = problem.train.first(batch_size(len(problem.train), lanes))
        with FakeTensorMode(allow_non_fake_inputs=True), kernels_assumed():
            feeds = [Feed(each, problem, CPU, precision.dtype) for each in (part, measured)]
            alone = replace(
                self._setup,
                problem=replace(problem, build_model=lambda **_: network),
                train=feeds[0],
                train_metrics=feeds[1],
                test=feeds[1],
            )
            yield Pack(signature, lanes, alone, convolutions)


def _signature(run: Run) -> PackSignature:
    (signature,) = signatures_of([run])
    return signature
