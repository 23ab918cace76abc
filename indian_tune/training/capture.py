"""Steps that a GPU repeats without the host."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING
from weakref import WeakSet

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

WARM_UP = 3

# Of every GPU. They share their memory: they are replayed one after the other and keep their
# results outside of it, so one may overwrite what another has left. The largest decides.
_graphs: defaultdict[int, WeakSet[torch.cuda.CUDAGraph]] = defaultdict(WeakSet)


def captured(
    step: Callable[[], None], rewind: Callable[[], object], device: torch.device
) -> Callable[[], None]:
    """Return ``step`` as one captured CUDA graph; on a CPU, as it is.

    Capturing takes the step a few times: what it moves must be put where it belongs afterwards.

    Args:
        step: reads and writes tensors that stay where they are, and never waits for the device.
        rewind: brings the place in the epoch back to its beginning.
        device: where the tensors live.
    """
    if device.type != "cuda":
        return step
    with torch.cuda.device(device):
        index = torch.cuda.current_device()
        stream = _stream(index)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            warm_up(step, rewind)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Kept until the capture has begun: with the last graph of a pool the pool goes, too.
        donor = next(iter(_graphs[index]), None)
        pool = None if donor is None else donor.pool()
        # A capture that cannot end leaves its stream the present one.
        with torch.cuda.stream(torch.cuda.current_stream()):
            _capture(step, torch.cuda.graph(graph, pool=pool, stream=stream))
        del donor
        _graphs[index].add(graph)
    return graph.replay


@contextmanager
def on_capture_stream(device: torch.device) -> Iterator[None]:
    """Compute on the stream of all captures within the block; on a CPU, as always.

    Args:
        device: where the block makes all its tensors.
    """
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device), torch.cuda.stream(_stream(torch.cuda.current_device())):
        yield


def warm_up(step: Callable[[], None], rewind: Callable[[], object]) -> None:
    """Take a step a few times, each at the beginning of an epoch, however short the epoch is."""
    for _ in range(WARM_UP):
        rewind()
        step()
    rewind()


def _capture(step: Callable[[], None], begun: AbstractContextManager[object]) -> None:
    """Take a step under capture; raise its own error where it has one.

    The end of a capture that was broken off raises another error, which does not tell why.
    """
    cause: Exception | None = None
    try:
        with begun:
            try:
                step()
            except Exception as error:
                cause = error
                raise
    except torch.AcceleratorError:
        if cause is None:
            raise
        raise cause from None
    finally:
        # In a cycle with its own frame it would keep the tensors of the step.
        del cause


@cache
def _stream(index: int) -> torch.cuda.Stream:
    """Return the stream of all captures on a GPU: for each cuBLAS keeps a workspace of 32 MiB."""
    return torch.cuda.Stream(index)  # type: ignore[no-untyped-call]
