"""Checks of parameter groups and of saved states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim.hyperparameters import check_indian
from indian_tune.text import with_article

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["as_number", "check_one_device", "check_options", "check_real", "check_state"]


def as_number(name: str, value: Any) -> Any:
    """Return an option, a tensor of one element as its number.

    Raises:
        HyperparameterError: it is a tensor of several elements.
    """
    if not isinstance(value, Tensor):
        return value
    if value.numel() != 1:
        raise HyperparameterError(
            f"{name} as a tensor must have one element, got shape {tuple(value.shape)}"
        )
    return value.item()


def check_options(options: dict[str, Any]) -> None:
    """Check the options of a parameter group of INDIAN.

    Raises:
        HyperparameterError: an option is out of range, or two exclude each other.
    """
    scalars = {name: as_number(name, value) for name, value in options.items() if name != "params"}
    check_indian(scalars, rate="lr")
    if options["fused"] and (options["foreach"] or options["capturable"]):
        other = "foreach" if options["foreach"] else "capturable"
        raise HyperparameterError(
            f"fused=True and {other}=True cannot be used together: choose one"
        )


def check_real(params: Iterable[Tensor], owner: str) -> None:
    """Refuse complex parameters of a group.

    Args:
        params: of the group.
        owner: class of the optimizer, for the message.

    Raises:
        InputError: one is complex.
    """
    for index, param in enumerate(params):
        if param.is_complex():
            raise InputError(
                f"{owner} accepts real parameters only, but parameter {index} of the group is "
                f"{param.dtype}: train torch.view_as_real of it instead"
            )


def check_one_device(params: Iterable[Tensor]) -> None:
    """Refuse parameters of a group that are on several devices, which no graph captures.

    Raises:
        InputError: they are.
    """
    devices = {param.device for param in params}
    if len(devices) > 1:
        raise InputError(
            "capturable=True needs the parameters of a group on one device, got "
            f"{', '.join(sorted(map(str, devices)))}; make one group for each device"
        )


def check_state(
    state: Mapping[str, Any], owner: str, names: Iterable[str], foreign: Iterable[str]
) -> None:
    """Refuse the saved state of another optimizer.

    Args:
        state: that is to be loaded.
        owner: class of the optimizer that loads it.
        names: options that each of its groups has.
        foreign: options that none of its groups has.

    Raises:
        InputError: a group lacks an option, or has one of another optimizer.
    """
    for group in state.get("param_groups", ()):
        lacking = [f"has no {name!r}" for name in names if name not in group]
        found = [*lacking, *(f"has {name!r}" for name in foreign if name in group)]
        if found:
            raise InputError(
                f"this state {found[0]}, so it belongs to another optimizer than {owner}: load the "
                f"state_dict() of {with_article(owner)}, or start without it"
            )
