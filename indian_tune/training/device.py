"""Whether torch can compute on a device."""

from __future__ import annotations

import torch

from indian_tune.errors import InputError
from indian_tune.text import counted
from indian_tune.training.memory import is_out_of_memory

NO_KERNEL = "no kernel image"
"""What CUDA says of a GPU that torch is not built for: another process would meet the same."""


def start_kernel(device: torch.device | str) -> None:
    """Start a kernel of torch's on a device.

    A GPU that torch is not built for can be listed and named, and has memory.

    Raises:
        RuntimeError: it cannot be started.
    """
    torch.ones(1, device=device).add_(1)


def usable_device(device: torch.device | str) -> torch.device:
    """Return a device on which torch can compute.

    Args:
        device: ``cpu`` or ``cuda`` with or without an index.

    Raises:
        InputError: it is not known, or cannot be used here whatever else runs.
        RuntimeError: its memory does not suffice, or it is lost to this process.
    """
    try:
        usable = torch.device(device)
    except RuntimeError:
        usable = None
    if usable is None or usable.type not in ("cpu", "cuda"):
        raise InputError(f"device = {str(device)!r} is not known: use cpu, cuda or cuda:N")
    if usable.type == "cpu":
        return usable
    present = torch.cuda.device_count()
    if (usable.index or 0) >= present:
        raise InputError(
            f"device = {str(device)!r} does not exist: torch finds "
            f"{counted(present, 'CUDA device')}. Use another device, or cpu; `indian-tune doctor` "
            "tells what is wrong with a GPU that is there"
        )
    try:
        start_kernel(usable)
    except Exception as error:
        # torch says in a plain error that it cannot use the driver.
        of_cuda = isinstance(error, torch.AcceleratorError) and NO_KERNEL not in str(error)
        if of_cuda or is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"device = {str(device)!r} cannot be used: {reason}. Install a torch build for this "
            "GPU and its driver (`indian-tune doctor` checks them), or use another device, or cpu"
        ) from error
    return usable
