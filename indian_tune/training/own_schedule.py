"""The length of a schedule in a loop of one's own, which alone knows how many steps it takes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from indian_tune.optim.families import get_family
from indian_tune.optim.hyperparameters import SCHEDULE_STEPS
from indian_tune.training.own_report import LoopError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from indian_tune.optim.schedules import Schedule
    from indian_tune.training.run import Run

log = logging.getLogger(__name__)

# Of all steps; the last batches of an epoch may be summed or left out.
TOLERANCE = 0.05
# Warned of in this process: every run of an arm has the same fault.
_warned: set[tuple[object, ...]] = set()


def with_length(run: Run, steps: object) -> dict[str, Any]:
    """Return the configuration of a run with the length of its schedule, if it has one.

    Args:
        run: of the loop.
        steps: what the loop gives as the number of its steps; ``None`` for nothing.

    Raises:
        LoopError: it is no number of steps, or the arm's space has another one.
    """
    if steps is None:
        return dict(run.config)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise LoopError(
            f"run.optimizer(steps={steps!r}) must be a whole number above 0: the batches of an "
            "epoch × run.total_epochs"
        )
    given: Any = run.config.get(SCHEDULE_STEPS.name)
    if given not in (None, steps):
        raise LoopError(
            f"run.optimizer(steps={steps}) differs from schedule_steps = {given:g} in the arm's "
            "space: remove it from there"
        )
    return get_family(run.family).with_steps(run.config, steps)


def check_length(run: Run, schedule: Schedule | None, taken: int) -> None:
    """Warn of a schedule that does not end with its run.

    Args:
        run: of the loop.
        schedule: its own; ``None`` if it has none.
        taken: steps in the first epoch.
    """
    total = taken * run.epochs
    if schedule is None or schedule.kind in ("power", "constant"):
        return
    if abs(schedule.steps - total) <= TOLERANCE * total:
        return
    fault = (run.family, schedule.steps, total)
    if fault not in _warned:
        _warned.add(fault)
        log.warning(
            "the %s schedule of %s ends after %d steps, but a run of %d epochs takes %d. Call "
            "run.optimizer(params, steps=…) with the batches of an epoch × run.total_epochs, and "
            "remove schedule_steps from the arm's space",
            *(schedule.kind, run.family, schedule.steps, run.epochs, total),
        )


def check_rates(run: Run, optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Warn of step sizes that the arm's schedule did not set, and is about to overwrite.

    Args:
        run: of the loop.
        optimizer: it, after a step.
        scheduler: its own, not yet stepped.
    """
    fault = ("overwritten", run.family)
    if fault in _warned:
        return
    if [group["lr"] for group in optimizer.param_groups] != scheduler.get_last_lr():
        _warned.add(fault)
        log.warning(
            "the loop changes the step size of %s, as a scheduler of torch does, but the arm's own "
            "schedule overwrites it in every step: give decay_power = 0 and no schedule in the "
            "arm's space to leave it to the loop",
            run.family,
        )
