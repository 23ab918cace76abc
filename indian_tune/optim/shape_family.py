"""A family of two: one optimizer for matrices, another one for all other parameters.

A study file names them as ``matrices`` and ``rest`` of an arm; as a family they have one name,
``matrices=torch.optim:Muon,rest=indian``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from indian_tune.errors import HyperparameterError
from indian_tune.optim.family import Family
from indian_tune.optim.hyperparameters import DECAY_POWER, SCHEDULE_PARAMETERS
from indian_tune.optim.schedules import SCHEDULE_NAMES, Schedule, power_decay

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.family import Config
    from indian_tune.optim.hyperparameters import Value

__all__ = ["REST", "is_by_shape", "named_by_shape", "shape_family"]

T = TypeVar("T")
REST = "rest_"
"""How the hyperparameters of the second optimizer begin."""
_NAME = re.compile(r"matrices=([^,=]+),rest=([^,=]+)")
_SHARED = SCHEDULE_NAMES | {DECAY_POWER.name}


def is_by_shape(name: str) -> bool:
    """Whether a name is that of two optimizers."""
    return _NAME.fullmatch(name) is not None


def named_by_shape(matrices: str, rest: str) -> str:
    """Return the name of the family of two optimizers."""
    return f"matrices={matrices},rest={rest}"


def shape_family(name: str, find: Callable[[str, str], Family]) -> Family:
    """Return the family of two optimizers.

    The hyperparameters of the first keep their names, those of the second begin with ``rest_``, and
    both follow one schedule.

    Args:
        name: as :func:`named_by_shape` gives it.
        find: returns the family of a name that is ``matrices`` or ``rest``.

    Raises:
        HyperparameterError: one of them is not known, or cannot be a part.
    """
    match = _NAME.fullmatch(name)
    assert match is not None
    parts = {part: find(match[n], part) for n, part in enumerate(("matrices", "rest"), 1)}
    for part, family in parts.items():
        reason = _unfit(family)
        if reason:
            raise HyperparameterError(f"{part} = {family.name!r} cannot be a part: {reason}")
    matrices, rest = parts["matrices"], parts["rest"]
    return _ShapeFamily(
        name,
        f"{matrices.title} for matrices, {rest.title} for the rest",
        {
            **_own(matrices.hyperparameters),
            **{
                REST + key: replace(each, name=REST + key)
                for key, each in _own(rest.hyperparameters).items()
            },
            DECAY_POWER.name: matrices.hyperparameters[DECAY_POWER.name],
            **{each.name: each for each in SCHEDULE_PARAMETERS},
        },
        {
            **_own(matrices.default_space),
            **{REST + key: value for key, value in _own(rest.default_space).items()},
        },
        "indian_tune.optim.by_shape:ByShape",
        matrices=matrices,
        rest=rest,
    )


@dataclass(frozen=True, kw_only=True)
class _ShapeFamily(Family):
    """A family of two.

    Attributes:
        matrices: family of the parameters with two dimensions.
        rest: family of all others.
    """

    matrices: Family
    rest: Family

    def complete(self, config: Config) -> dict[str, Value]:
        """See :meth:`Family.complete`; in the coordinates of the optimizers."""
        mine, others, shared = _split(config)
        complete = {
            **_own(self.matrices.complete(mine)),
            **{REST + key: value for key, value in _own(self.rest.complete(others)).items()},
        }
        known = (DECAY_POWER.name, *(each.name for each in SCHEDULE_PARAMETERS))
        values = {key: shared.get(key, self.hyperparameters[key].default) for key in known}
        return {
            **complete,
            **{k: self._checked(k, v) for k, v in values.items() if v is not None or k in shared},
        }

    def build(self, params: ParamsT, config: Config) -> tuple[Optimizer, LRScheduler | None]:
        """See :meth:`Family.build`."""
        from indian_tune.optim.by_shape import ByShape

        complete = self.complete(config)
        mine, others, _ = _split(complete)
        # Both follow the schedule of the whole.
        still = {DECAY_POWER.name: 0.0}
        optimizer = ByShape(
            params,  # type: ignore[arg-type]
            matrices=lambda members: self.matrices.build(members, {**mine, **still})[0],
            rest=lambda members: self.rest.build(members, {**others, **still})[0],
        )
        schedule = Schedule.of(complete)
        if schedule is not None:
            return optimizer, schedule.scheduler(optimizer)
        return optimizer, power_decay(optimizer, complete[DECAY_POWER.name])

    def check_installed(self) -> None:
        """See :meth:`Family.check_installed`."""
        self.matrices.check_installed()
        self.rest.check_installed()


def _split(config: Config) -> tuple[dict[str, Value], dict[str, Value], dict[str, Value]]:
    """Return what belongs to the first, to the second under its own names, and to the schedule."""
    mine, others, shared = {}, {}, {}
    for name, value in config.items():
        if name in _SHARED:
            shared[name] = value
        elif name.startswith(REST):
            others[name.removeprefix(REST)] = value
        else:
            mine[name] = value
    return mine, others, shared


def _own(named: Mapping[str, T]) -> dict[str, T]:
    return {key: each for key, each in named.items() if key not in _SHARED}


def _unfit(family: Family) -> str:
    """Return why a family cannot be a part, empty if it can."""
    if family.unscheduled:
        return f"{family.unscheduled}, but both parts use the same schedule"
    if any(key.startswith(REST) for key in family.hyperparameters):
        return "it already has an optimizer for the rest; for Muon only, write 'torch.optim:Muon'"
    return ""
