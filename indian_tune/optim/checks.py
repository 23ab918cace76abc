"""Checks of INDIAN's parameter groups."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim.hyperparameters import check_indian

__all__ = ["check_options", "check_parameters"]


def check_options(options: dict[str, Any]) -> None:
    """Check the options of a parameter group.

    Raises:
        HyperparameterError: an option is out of range, or two exclude each other.
    """
    lr = options["lr"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise HyperparameterError(
            f"lr as a tensor must have one element, got shape {tuple(lr.shape)}"
        )
    scalars = {
        name: value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        for name, value in options.items()
        if name != "params"
    }
    check_indian(scalars, rate="lr")
    if options["fused"] and (options["foreach"] or options["capturable"]):
        other = "foreach" if options["foreach"] else "capturable"
        raise HyperparameterError(
            f"fused=True and {other}=True cannot be used together: choose one"
        )


def check_parameters(params: list[Tensor], *, capturable: bool) -> None:
    """Check the parameters of a group.

    Raises:
        InputError: one is complex, or they are on several devices and are to be captured.
    """
    for index, param in enumerate(params):
        if param.is_complex():
            raise InputError(
                f"Indian accepts real parameters only, but parameter {index} of the group is "
                f"{param.dtype}: train torch.view_as_real of it instead"
            )
    devices = {param.device for param in params}
    if capturable and len(devices) > 1:
        raise InputError(
            "capturable=True needs the parameters of a group on one device, got "
            f"{', '.join(sorted(map(str, devices)))}; make one group for each device"
        )
