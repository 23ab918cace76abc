"""Schedules in a loop of one's own: their length, and schedulers of torch beside them."""

from __future__ import annotations

import gc
import logging
import operator
from typing import TYPE_CHECKING, Any, SupportsIndex

from indian_tune.optim.families import get_family
from indian_tune.optim.hyperparameters import SCHEDULE_STEPS
from indian_tune.training.own_report import LoopError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from indian_tune.optim.schedules import Schedule
    from indian_tune.problems.loop import Loop
    from indian_tune.training.run import Run

log = logging.getLogger(__name__)

# Of all steps, at the end of a run, and as the first epoch tells: a gradient scaler skips some.
EXACT, ABOUT = 0.05, 0.25
ADVICE = (
    "calls of optimizer.step() in an epoch × run.total_epochs (with gradient accumulation they are "
    "fewer than the batches)"
)
# An attribute of ReduceLROnPlateau.
PLATEAU = "num_bad_epochs"
# Arms of loops for which no ReduceLROnPlateau needs to be looked for any more.
_examined: set[tuple[object, ...]] = set()
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
    # A whole number of NumPy's is one as well.
    count = 0
    if not isinstance(steps, bool) and isinstance(steps, SupportsIndex):
        count = operator.index(steps)
    if count < 1:
        raise LoopError(
            f"run.optimizer(steps={steps!r}) must be a whole number above 0, such as an int: the "
            f"{ADVICE}"
        )
    given: Any = run.config.get(SCHEDULE_STEPS.name)
    if given not in (None, count):
        raise LoopError(
            f"run.optimizer(steps={count}) differs from schedule_steps = {given:g} in the arm's "
            "space: remove it from there"
        )
    return get_family(run.family).with_steps(run.config, count)


def check_length(loop: Loop, run: Run, schedule: Schedule | None, epoch: int, taken: int) -> None:
    """Warn of a schedule that does not end with its run.

    Args:
        loop: whose run it is.
        run: the run.
        schedule: its own; ``None`` if it has none.
        epoch: that has ended; the first one tells about how many steps there will be.
        taken: steps so far.
    """
    if schedule is None or schedule.kind in ("power", "constant"):
        return
    last = epoch == run.epochs
    total = taken if last else taken * run.epochs
    if not (last or epoch == 1) or _near(schedule.steps, total, EXACT if last else ABOUT):
        return
    found = f"a run of {run.epochs} epochs took {total} steps"
    if not last:
        found = (
            f"a run has taken {taken} steps after epoch 1 of {run.epochs}, so about {total} in all"
        )
    remove = ", and remove schedule_steps from the arm's space"
    warn_once(
        (identity(loop), run.family, schedule.steps, run.epochs),
        f"{found}, but the {schedule.kind} schedule of {run.family} ends after {schedule.steps}: "
        f"give run.optimizer(params, steps=…) the {ADVICE}"
        f"{remove if SCHEDULE_STEPS.name in run.config else ''}"
        f"{'' if last else '. If later epochs have another number of steps, this may be right'}",
    )


def _near(one: int, other: int, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * other


def identity(loop: Loop) -> int:
    """Return what tells loops apart; a factory may build one several times with one function."""
    return id(loop if loop.train is None else loop.train)


def warn_once(fault: tuple[object, ...], message: str) -> None:
    """Warn of a fault, unless it was warned of in this process."""
    if fault not in _warned:
        _warned.add(fault)
        log.warning("%s", message)


def check_rates(loop: Loop, run: Run, optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Warn of step sizes that the arm's schedule did not set, and is about to overwrite.

    Args:
        loop: whose run it is.
        run: the run.
        optimizer: it, after a step.
        scheduler: its own, not yet stepped.
    """
    if [group["lr"] for group in optimizer.param_groups] != scheduler.get_last_lr():
        warn_once(
            (identity(loop), run.family),
            f"the loop changes the step size of {run.family}, as a scheduler of torch does, but "
            "the arm's own schedule overwrites it in every step: to leave it to the loop, give "
            "decay_power = 0, and neither schedule nor warmup, in the arm's space",
        )


def check_first(
    loop: Loop, run: Run, optimizer: Optimizer, built: Sequence[float], read: Container[str]
) -> None:
    """Warn of a scheduler with step sizes of its own in place of the searched one.

    Those of torch keep what they multiply as ``initial_lr``, ``OneCycleLR`` as ``max_lr``.

    Args:
        loop: whose run it is.
        run: the run.
        optimizer: it, after its first step.
        built: its step sizes as it was built, one per group.
        read: names that the loop itself has read from the configuration.
    """
    replaced = any(
        rate not in (group.get("initial_lr", rate), group.get("max_lr"))
        for group, rate in zip(optimizer.param_groups, built, strict=False)
    )
    if replaced and "gamma0" not in read:
        warn_once(
            (identity(loop), run.family, "gamma0"),
            f"a scheduler of the loop replaces the step size of {run.family}, so gamma0 has no "
            "effect: give the scheduler run.config['gamma0'], such as OneCycleLR(optimizer, "
            "max_lr=run.config['gamma0'], total_steps=…)",
        )


def check_kept(
    loop: Loop,
    run: Run,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    objects: Mapping[str, Any],
) -> None:
    """Warn of a scheduler of the loop that is in no checkpoint, although other objects are.

    Args:
        loop: whose run it is.
        run: the run.
        optimizer: its own, after an epoch.
        scheduler: of the arm, which is in every checkpoint and overwrites another; usually none.
        objects: of its checkpoints.
    """
    if scheduler is not None or not objects:
        return
    from torch.optim.lr_scheduler import LRScheduler as Scheduler

    held = list(objects.values())
    if any(isinstance(each, Scheduler) for each in held) or not _scheduled(loop, run, optimizer):
        return
    if not _holds([each.state_dict() for each in held]):
        warn_once(
            (identity(loop), run.family, "scheduler"),
            "the scheduler of the loop is not in run.epochs(…), nor in run.checkpoint(…): a run "
            "that is interrupted would continue with wrong step sizes: add scheduler=scheduler",
        )


def _scheduled(loop: Loop, run: Run, optimizer: Optimizer) -> bool:
    """Return whether a scheduler of torch sets the step sizes of an optimizer.

    All but ``ReduceLROnPlateau`` replace its step. That one leaves no trace there, so that it is
    looked for among all objects: 50 ms, once for an arm in a process.
    """
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        return True
    if (arm := (identity(loop), run.family)) in _examined:
        return False
    _examined.add(arm)
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    # What refers to the optimizer is the scheduler, or the dictionary of its attributes.
    return any(
        isinstance(each, ReduceLROnPlateau) or (isinstance(each, dict) and PLATEAU in each)
        for each in gc.get_referrers(optimizer)
    )


def _holds(state: object) -> bool:
    """Return whether a state has that of a scheduler in it, as one of an object that holds one."""
    if isinstance(state, dict):
        return "last_epoch" in state or _holds(list(state.values()))
    return isinstance(state, list | tuple) and any(map(_holds, state))
