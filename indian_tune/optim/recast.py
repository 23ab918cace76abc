"""A family whose search uses other coordinates than its optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError
from indian_tune.optim.family import Family

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.family import Config

__all__ = ["RecastFamily"]


@dataclass(frozen=True, kw_only=True)
class RecastFamily(Family):
    """A family in other coordinates.

    Attributes:
        base: the family in the coordinates of the optimizer, ``gamma0`` among them.
        recast: takes a complete configuration in these coordinates and returns it as one of
            ``base``.
    """

    base: Family
    recast: Callable[[dict[str, float]], dict[str, float]]

    def complete(self, config: Config) -> dict[str, float]:
        """Return ``config`` as a complete configuration of the base.

        What is already such a configuration is taken as it is.
        """
        base = self.base
        if "gamma0" not in config:
            return base.complete(self.recast(super().complete(config)))
        own = [name for name in self.hyperparameters if name not in base.hyperparameters]
        for name in own:
            if name in config:
                raise HyperparameterError(
                    f"{self.name} accepts either {', '.join(own)} or the equivalents of "
                    f"{base.name}, got both: {name} = {config[name]!r}, gamma0 = "
                    f"{config['gamma0']!r}"
                )
        return base.complete(config)

    def build(self, params: ParamsT, config: Config) -> tuple[Optimizer, LRScheduler | None]:
        """See :meth:`Family.build`."""
        return self.base.build(params, self.complete(config))
