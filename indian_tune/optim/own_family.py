"""A user's optimizer as a family: a torch optimizer class that a study file names.

The family itself is built without importing anything: a registered study can be read, shown and
ranked anywhere. What the class takes is known only where it is imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError, InputError, unknown_name
from indian_tune.imports import entry_point_names, is_reference, load_named
from indian_tune.optim.family import Family
from indian_tune.optim.hyperparameters import CONSTANT_STEP, GAMMA0, Hyperparameter
from indian_tune.optim.schedules import is_scheduled
from indian_tune.optim.shape_family import is_by_shape

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.family import Config
    from indian_tune.optim.hyperparameters import Value

__all__ = ["ENTRY_POINTS", "is_own", "loaded_family", "own_family", "set_mode"]

ENTRY_POINTS = "indian_tune.optimizers"
"""Group by which an installed package names its optimizers."""


def is_own(name: str, catalog: Mapping[str, object]) -> bool:
    """Whether a name can only be an optimizer of one's own: neither in the catalog nor torch's."""
    return name not in catalog and name.partition(":")[0] != "torch.optim" and not is_by_shape(name)


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
            f"{unknown_name('optimizer', name, catalog)}, torch.optim:Class for another torch "
            "optimizer, such as torch.optim:RMSprop, or package.module:Class for your own"
        )
    return _OwnFamily(name, name.rpartition(":")[2], _AnyValue(), {}, name)


def set_mode(optimizer: Optimizer, *, training: bool) -> None:
    """Bring an optimizer that trains and is measured at different weights to one of them.

    Those of the schedule-free kind have ``train()`` and ``eval()``; others are left as they are.
    """
    train, evaluate = (getattr(optimizer, name, None) for name in ("train", "eval"))
    if callable(train) and callable(evaluate):
        train() if training else evaluate()


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
        return loaded_family(self.name, "optimizer").with_steps(config, steps)

    def build(self, params: ParamsT, config: Config) -> tuple[Optimizer, LRScheduler | None]:
        """See :meth:`Family.build`; imports the class."""
        return loaded_family(self.name, "optimizer").build(params, config)


class _AnyValue(Mapping[str, Hyperparameter]):
    """A hyperparameter of every name; the two whose meaning is known are listed."""

    def __getitem__(self, name: str) -> Hyperparameter:
        known = {GAMMA0.name: GAMMA0, CONSTANT_STEP.name: CONSTANT_STEP}
        return known.get(name) or Hyperparameter(name, f"{name} of the optimizer", kind="any")

    def __iter__(self) -> Iterator[str]:
        yield from (GAMMA0.name, CONSTANT_STEP.name)

    def __len__(self) -> int:
        return 2


def loaded_family(name: str, key: str) -> Family:
    """Return the family as the class itself says it.

    Args:
        name: of the family.
        key: of the study file that names it, for messages.

    Raises:
        InputError: the class is not found or not allowed to be imported, or is no optimizer.
    """
    import torch

    from indian_tune.optim.torch_family import family_of

    loaded = load_named(name, key=key, group=ENTRY_POINTS)
    if not isinstance(loaded, type) or not issubclass(loaded, torch.optim.Optimizer):
        raise InputError(
            f"{key} = {name!r} must be a subclass of torch.optim.Optimizer, got {loaded!r}"
        )
    return family_of(name, loaded, key=key)
