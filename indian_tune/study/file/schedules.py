"""Schedules in a search space: which of their hyperparameters belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.errors import StudyFileError
from indian_tune.optim.hyperparameters import SCHEDULE
from indian_tune.optim.schedules import DEFAULT_COOLDOWN, PARAMETERS_OF, is_scheduled
from indian_tune.study.file.space import Choices, Constant, Grid, bounds, values_of
from indian_tune.text import counted, plain_number

if TYPE_CHECKING:
    from indian_tune.optim.family import Family
    from indian_tune.study.file.space import Space

__all__ = ["check_schedule", "check_warmup"]


def check_schedule(family: Family, space: Space, where: str) -> None:
    """Refuse hyperparameters of a schedule that the space does not have, and those that overlap.

    Args:
        family: of the arm.
        space: of the arm.
        where: key of the space in the study file, for messages.

    Raises:
        StudyFileError: the message names the key, the value and what is allowed.
    """
    # What a class of one's own takes is not known here; its names may be those of schedules.
    if not is_scheduled(space) or SCHEDULE.name not in list(family.hyperparameters):
        return
    kinds = _kinds(space)
    named = [name for name in space if any(name in names for names in PARAMETERS_OF.values())]
    for name in named:
        able = [kind for kind, names in PARAMETERS_OF.items() if name in names]
        if not set(kinds) & set(able):
            raise StudyFileError(
                f"{where}.{name} is used with schedule = {' or '.join(map(repr, able))} only, but "
                f"this space has {', '.join(map(repr, kinds))}: remove {name} or change schedule"
            )
    given = values_of(space["warmup"]) if "warmup" in space else (0.0,)
    if any(0 < value < 1 for value in given) and max(given) >= 1:
        raise StudyFileError(
            f"{where}.warmup goes from {plain_number(min(given))} to {plain_number(max(given))}: "
            "below 1 it is a share of the run's steps and from 1 on a number of steps, so give "
            "either shares or steps"
        )
    warmup = max(given)
    cooldown = bounds(space["cooldown"])[1] if "cooldown" in space else DEFAULT_COOLDOWN
    if "wsd" in kinds and warmup < 1 < warmup + cooldown:
        raise StudyFileError(
            f"{where}: warmup = {warmup:g} and cooldown = {cooldown:g} of the run's steps would "
            f"overlap: lower one, so that they are at most 1 together"
        )


def check_warmup(space: Space, steps: int, where: str) -> None:
    """Refuse a warm-up that does not end within the run, or not before its cooldown.

    Args:
        space: of an arm.
        steps: of its shortest run.
        where: key of the space in the study file, for messages.

    Raises:
        StudyFileError: see above.
    """
    warmup = bounds(space["warmup"])[1] if "warmup" in space else 0.0
    if warmup < 1:
        return
    cooldown = 0.0
    if "wsd" in _kinds(space):
        cooldown = bounds(space["cooldown"])[1] if "cooldown" in space else DEFAULT_COOLDOWN
    left = int(steps * (1 - cooldown))
    if warmup >= max(left, 1):
        before = f", and its cooldown begins after {left}" if cooldown else ""
        raise StudyFileError(
            f"{where}.warmup = {plain_number(warmup)} steps, but the shortest run has "
            f"{counted(steps, 'step')}{before}: lower it, or give a share of the steps, such as 0.1"
        )


def _kinds(space: Space) -> list[str]:
    match space.get(SCHEDULE.name, Constant(0)):
        case Choices(values) | Grid(values):
            return [SCHEDULE.labels[int(value)] for value in values]
        case each:
            return [SCHEDULE.labels[int(bounds(each)[0])]]
