"""Builds an optimizer from the best configuration of an arm. Loads torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError
from indian_tune.optim.families import get_family
from indian_tune.optim.hyperparameters import SCHEDULE_STEPS
from indian_tune.optim.schedules import is_scheduled
from indian_tune.study.file.parameters import split_training_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.optim import Optimizer


def winner_optimizer(
    name: str, best: Mapping[str, Any], params: Iterable[Any], steps: int | None
) -> Optimizer:
    """Return a new optimizer whose schedule is stepped with it.

    Args:
        name: of the optimizer's family.
        best: a configuration; settings of the training loop in it are not used.
        params: parameters or groups, as torch's optimizers take them.
        steps: of the whole run; ``None`` for as many as the configuration has.

    Raises:
        InputError: the schedule has an end, and neither has its steps.
    """
    family = get_family(name)
    config = family.complete(split_training_parameters(best)[0])
    if is_scheduled(config) and not family.unscheduled:
        # A run of another length has a schedule of its own length.
        own: Any = config.pop(SCHEDULE_STEPS.name, None)
        steps = own if steps is None else steps
        if steps is None:
            raise InputError(
                f"the schedule of {name} ends with the run: give steps=…, the number of its "
                "mini-batches"
            )
        config = family.with_steps(config, steps)
    optimizer, scheduler = family.build(params, config)
    if scheduler is not None:
        optimizer.register_step_post_hook(lambda *_: scheduler.step())
    return optimizer
