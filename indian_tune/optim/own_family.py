"""An optimizer of one's own as a family: a class of torch's kind that a study file names.

The family itself is built without importing anything: a registered study can be read, shown and
ranked anywhere. What the class takes is known only where it is imported.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError, InputError, unknown_name
from indian_tune.imports import blamed, check_form, entry_point_names, is_reference, load_named
from indian_tune.optim.family import Family
from indian_tune.optim.hyperparameters import CONSTANT_STEP, GAMMA0, Hyperparameter
from indian_tune.optim.schedules import is_scheduled

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.family import Config
    from indian_tune.optim.hyperparameters import Value

__all__ = ["ENTRY_POINTS", "check_optimizer", "is_own", "own_family", "set_mode"]

ENTRY_POINTS = "indian_tune.optimizers"
"""Group by which an installed package names its optimizers."""
SHAPES = ((4, 3), (4,), (2, 3, 2, 2))


def is_own(name: str, catalog: Mapping[str, object]) -> bool:
    """Whether a name can only be an optimizer of one's own: neither in the catalog nor torch's."""
    return name not in catalog and name.partition(":")[0] != "torch.optim"


def own_family(name: str, catalog: Mapping[str, object]) -> Family:
    """Return the family of ``package.module:Class`` or of an installed entry point.

    Nothing is imported. The hyperparameters are those that a configuration gives, passed to the
    class by name; ``gamma0`` is its ``lr``.

    Args:
        name: as in the study file.
        catalog: names of the built-in families, for the message.

    Raises:
        HyperparameterError: it is neither of the form ``package.module:Class`` nor installed.
    """
    if not is_reference(name) and name not in entry_point_names(ENTRY_POINTS):
        raise HyperparameterError(
            f"{unknown_name('optimizer', name, catalog)}, torch.optim:Class for another optimizer "
            "of torch, such as torch.optim:RMSprop, or package.module:Class for one of your own"
        )
    return _OwnFamily(name, name.rpartition(":")[2], _AnyValue(), {}, name)


def check_optimizer(name: str, config: Config, *, key: str, averaged: bool = False) -> None:
    """Import an optimizer, and take two steps with it on parameters of every kind of shape.

    Args:
        name: of its family, one of the user's own or of torch.
        config: a configuration of the arm's space.
        key: of the study file that names the optimizer, for messages.
        averaged: whether the weights are averaged beside it.

    Raises:
        InputError: the class is not found or not allowed to be imported, is no optimizer, does
            not take the configuration, cannot take a step without more, or averages the weights
            itself.
    """
    import torch

    from indian_tune.optim.torch_family import torch_family

    where = f"{key} = {name!r}"
    if name.partition(":")[0] == "torch.optim":
        loaded = torch_family(name)
    else:
        check_form(name, key, "Class")
        loaded = _loaded(name, key)
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
        optimizer, scheduler = loaded.build(parameters, loaded.with_steps(config, 2))
        set_mode(optimizer, training=True)
        for _ in range(2):
            optimizer.zero_grad()
            sum(each.pow(2).sum() for each in parameters).backward()  # type: ignore[union-attr]
            try:
                optimizer.step()
            except Exception as error:
                reason = _reason(optimizer, error)
                if reason is None:
                    raise
                raise InputError(f"{where} cannot be tuned: {reason}") from error
            if scheduler is not None:
                scheduler.step()
        set_mode(optimizer, training=False)


def set_mode(optimizer: Optimizer, *, training: bool) -> None:
    """Bring an optimizer that trains and is measured at different weights to one of them.

    Those of the schedule-free kind have ``train()`` and ``eval()``; others are left as they are.
    """
    train, evaluate = (getattr(optimizer, name, None) for name in ("train", "eval"))
    if callable(train) and callable(evaluate):
        train() if training else evaluate()


def _reason(optimizer: Optimizer, error: Exception) -> str | None:
    """Return why a step without more is none for this optimizer, ``None`` if that is not known."""
    from indian_tune.optim.torch_family import CLOSURE

    closure = inspect.signature(optimizer.step).parameters.get("closure")
    text = str(error)
    if (closure is not None and closure.default is closure.empty) or "closure" in text:
        return CLOSURE
    if "create_graph" in text or "grad_fn" in text:
        return "it needs second derivatives of the loss (create_graph=True)"
    return None


@dataclass(frozen=True)
class _OwnFamily(Family):
    """Takes any hyperparameter, until its class is imported and says what it takes."""

    def check_names(self, names: object) -> None:
        """Accept all names."""

    def complete(self, config: Config) -> dict[str, Value]:
        """Return ``config`` checked, numbers to be finite; the class has its own defaults."""
        return {
            name: self.hyperparameters[name].read(value, owner=self.name)
            for name, value in config.items()
        }

    def with_steps(self, config: Config, steps: int) -> dict[str, Value]:
        """See :meth:`Family.with_steps`; imports the class, which may have these names."""
        if not is_scheduled(config):
            return dict(config)
        return _loaded(self.name, "optimizer").with_steps(config, steps)

    def build(self, params: ParamsT, config: Config) -> tuple[Optimizer, LRScheduler | None]:
        """See :meth:`Family.build`; imports the class."""
        return _loaded(self.name, "optimizer").build(params, config)


class _AnyValue(Mapping[str, Hyperparameter]):
    """A hyperparameter of every name; the two whose meaning is known are listed."""

    def __getitem__(self, name: str) -> Hyperparameter:
        known = {GAMMA0.name: GAMMA0, CONSTANT_STEP.name: CONSTANT_STEP}
        return known.get(name) or Hyperparameter(name, f"{name} of the optimizer", kind="any")

    def __iter__(self) -> Iterator[str]:
        yield from (GAMMA0.name, CONSTANT_STEP.name)

    def __len__(self) -> int:
        return 2


def _loaded(name: str, key: str) -> Family:
    """Return the family as the class itself says it.

    Raises:
        InputError: see :func:`check_optimizer`.
    """
    import torch

    from indian_tune.optim.torch_family import family_of

    loaded = load_named(name, key=key, group=ENTRY_POINTS)
    if not isinstance(loaded, type) or not issubclass(loaded, torch.optim.Optimizer):
        raise InputError(
            f"{key} = {name!r} must be a subclass of torch.optim.Optimizer, got {loaded!r}"
        )
    return family_of(name, loaded, key=key)
