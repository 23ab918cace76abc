"""Checks with two steps whether an optimizer outside the catalog can be tuned."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.imports import blamed, check_form
from indian_tune.optim.families import FAMILIES, get_family
from indian_tune.optim.own_family import is_own, loaded_family, set_mode

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

    from indian_tune.optim.family import Config, Family

__all__ = ["check_optimizer"]

SHAPES = ((4, 3), (4,), (2, 3, 2, 2))
MATRIX_RANK = 2


def check_optimizer(name: str, config: Config, *, key: str, averaged: bool = False) -> Optimizer:
    """Import an optimizer, and take two steps with it on parameters of every kind of shape.

    Args:
        name: of its family, one of the user's own or of torch.
        config: a configuration of the arm's space.
        key: of the study file that names the optimizer, for messages.
        averaged: whether the weights are averaged beside it.

    Returns:
        The optimizer after these steps.

    Raises:
        InputError: the class is not found or not allowed to be imported, is no optimizer, does
            not take the configuration, cannot take a step without more, or averages the weights
            itself.
    """
    import torch

    where = f"{key} = {name!r}"
    if is_own(name, FAMILIES):
        check_form(name, key, "Class")
        loaded = loaded_family(name, key)
    else:
        loaded = get_family(name)
        loaded.check_installed()
    try:
        loaded.check_names(config)
    except HyperparameterError as error:
        raise InputError(f"{where}: {error}") from error
    if averaged and loaded.averages:
        raise InputError(f"{where} averages the weights itself: remove ema_decay from its space")
    # A dense layer, its biases and a convolution, on a loss with all derivatives.
    parameters = [
        torch.nn.Parameter(torch.linspace(-1, 1, math.prod(shape)).view(shape)) for shape in SHAPES
    ]
    with blamed(where, "taking a step"):
        try:
            return _take_steps(loaded, parameters, config)
        except ImportError as error:
            raise InputError(f"{where} needs a package that is not installed: {error}") from error
        except InputError:
            raise
        except Exception as error:
            reason = _reason(loaded, parameters, config, error)
            if reason is None:
                raise
            raise InputError(f"{where} cannot be tuned: {reason}") from error


class _NotBuiltError(Exception):
    """An optimizer's constructor failed."""


class _ClosureError(Exception):
    """An optimizer's step wants a closure."""


def _take_steps(family: Family, parameters: list[Parameter], config: Config) -> Optimizer:
    try:
        optimizer, scheduler = family.build(parameters, family.with_steps(config, 2))
    except (ImportError, InputError):
        raise
    except Exception as error:
        raise _NotBuiltError(f"{type(error).__name__}: {error}") from error
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    set_mode(optimizer, training=True)
    for _ in range(2):
        optimizer.zero_grad()
        sum(each.pow(2).sum() for each in parameters).backward()  # type: ignore[union-attr]
        try:
            optimizer.step()
        except Exception as error:
            if closure is not None and closure.default is closure.empty:
                raise _ClosureError from error
            raise
        if scheduler is not None:
            scheduler.step()
    set_mode(optimizer, training=False)
    return optimizer


def _reason(
    family: Family, parameters: list[Parameter], config: Config, error: Exception
) -> str | None:
    """Return why an optimizer cannot be tuned, ``None`` if that is not known."""
    from indian_tune.optim.torch_family import CLOSURE, ONLY_MATRICES

    text = str(error)
    if isinstance(error, _ClosureError) or "closure" in text:
        return CLOSURE
    if "create_graph" in text or "grad_fn" in text:
        return "it needs second derivatives of the loss (create_graph=True)"
    try:
        _take_steps(family, [each for each in parameters if each.dim() == MATRIX_RANK], config)
    except Exception:  # noqa: BLE001 - somebody else's code raises anything
        if not isinstance(error, _NotBuiltError):
            return None
        return f"it cannot be created from parameters and these arguments only: it raises {text}"
    return ONLY_MATRICES
