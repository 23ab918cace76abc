"""Steps that a GPU repeats without the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 3


def captured(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return ``step`` as one captured CUDA graph; on a CPU, as it is.

    Capturing takes the step a few times: what it moves must be put where it belongs afterwards.

    Args:
        step: reads and writes tensors that stay where they are, and never waits for the device.
        device: where the tensors live.
    """
    if device.type != "cuda":
        return step
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    return graph.replay
