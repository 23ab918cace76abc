"""Finds errors before registration that would otherwise appear during training.

A registered study does not change, so one that cannot train would keep its name from the file that
was corrected. Problems of the catalog are checked by their numbers, and torch is not loaded;
problems of one's own train a few examples.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import tempfile
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from indian_tune.errors import InputError
from indian_tune.imports import blamed
from indian_tune.problems.catalog import get_dataset_info, get_model_info
from indian_tune.problems.loop import Loop
from indian_tune.problems.machine import COPIES, check_fits
from indian_tune.problems.stratify import part_size
from indian_tune.problems.task import get_task
from indian_tune.study.file.parameters import split_training_parameters, training_values
from indian_tune.study.file.space import bounds
from indian_tune.study.typical import typical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from indian_tune.problems import Problem
    from indian_tune.study.file.arm import ArmSection
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.training import GlobalState
    from indian_tune.training.loop_trainer import Rehearsal

logger = logging.getLogger(__name__)

# Examples of a step: more than one, as batch normalisation needs.
TRIED = 4
# What a loop of one's own reads as attributes of a run.
OF_LOOPS = ("batch_size", "dropout")
# How long the first epoch of a loop of one's own may take, to be tried up to its report.
FIRST_REPORT_SECONDS = 10.0


def check_split(spec: StudySpec) -> None:
    """Check that a data set of the catalog has examples for every part.

    Raises:
        InputError: ``validation_fraction`` leaves none for a part.
    """
    section = spec.problem
    if section.dataset is None or section.sizes is not None or spec.protocol.mode != "honest":
        return
    part_size(section.validation_fraction, get_dataset_info(section.dataset).train_images)


# Keys that say how the package trains, by section.
_OF_PROBLEMS = {
    "problem": (
        *("validation_fraction", "sizes", "split_seed", "split", "label_noise"),
        *("precision", "tf32", "augmentation"),
    ),
    "protocol": ("train_eval_size",),
}


def check_loop(spec: StudySpec) -> None:
    """Check that a study with a loop of one's own says nothing that only the loop can do.

    Raises:
        InputError: a key has no meaning for it.
    """
    for section, keys in _OF_PROBLEMS.items():
        given = getattr(spec, section)
        for key in keys:
            value, default = getattr(given, key), type(given).model_fields[key].default
            if value != default:
                raise InputError(
                    f"{section}.{key} = {value!r} is not used with problem.factory = "
                    f"{spec.problem.factory!r}, which trains with your training loop: remove it, "
                    "and do this in the loop"
                )
    for n, arm in enumerate(spec.arms, 1):
        for name in ("clip_norm", "ema_decay"):
            if name in arm.space:
                raise InputError(
                    f"arms[{n}].space.{name} is not used with problem.factory = "
                    f"{spec.problem.factory!r}, which trains with your training loop: remove it, "
                    "and do this in the loop"
                )


def check_memory(spec: StudySpec) -> None:
    """Check that data and network of the catalog fit into the memory of this machine.

    Counted is what cannot be less: pixels of a byte, and weights with their gradients and one state
    of the optimizer, of 4 bytes each. Activations come on top.

    Raises:
        InputError: they do not; the message names what they need and what there is.
    """
    section = spec.problem
    if section.dataset is None or section.model is None:
        return
    data, model = get_dataset_info(section.dataset), get_model_info(section.model)
    pixels = data.shape[0] * model.input_size(data, section.size) ** 2
    layers = (pixels, *(section.widths or ()), section.classes)
    weights = sum(math.prod(pair) for pair in pairwise(layers)) if model.hidden else 0
    needed = (data.train_images + data.test_images) * pixels + COPIES * 4 * weights
    keys = "problem.size and problem.widths" if model.hidden else "problem.size"
    check_fits(
        needed, f"the images of {data.name} and the weights of {model.name}", f"lower {keys}"
    )


def rehearse(spec: StudySpec, problem: Problem | Loop) -> None:
    """Train every arm for a step or two on a few examples, and measure it, on the CPU.

    Each arm is trained with typical values, and its optimizer made with the ends of its ranges too.
    The last batch of an epoch may have a single example, and does here if it does in the study. A
    loop of one's own is followed up to its first epoch, and with the first arm to its first report,
    unless that takes long: an epoch may take hours. One without a function that trains is not
    followed at all.

    Args:
        spec: of the study.
        problem: of one's own, with its splits.

    Raises:
        InputError: a network or an optimizer of one's own cannot be trained so; the message names
            the keys and what was raised.
    """
    from indian_tune.engines.runs import trainer_of
    from indian_tune.problems.data_advice import warn_of_data
    from indian_tune.training import GlobalState, Run, SingleExampleError

    state = GlobalState()
    where = f"problem.factory = {spec.problem.factory!r}"
    if isinstance(problem, Loop):
        if problem.test is None and spec.fresh_seeds:
            logger.warning(
                "%s returns a Loop without test data, so the runs on fresh seeds have no "
                "test_error, and analyze will refuse the study: give the Loop test=… and report "
                "test_error=run.sealed(evaluate) in every epoch. Without test data only compare "
                "can be used, on validation results",
                where,
            )
        _check_loss_at_chance(spec, problem)
        if problem.train is not None:
            _rehearse_loops(spec, problem, state)
        return
    _compare_batch_size(spec, problem)
    with blamed(where, "looking at its data"):
        warn_of_data(problem, where)
    for n, arm in enumerate(spec.arms, 1):
        for place, config in enumerate(_configs(spec, arm.name)):
            values, own = split_training_parameters(config)
            training = training_values(own, spec.problem)
            size = training["batch_size"]
            step = min(size, TRIED)
            single = size > 1 and len(problem.train) % size == 1
            few = replace(
                problem,
                train=problem.train.first(step + single),
                validation=None if problem.validation is None else problem.validation.first(TRIED),
                test=problem.test.first(TRIED),
            )
            run = Run(
                key="rehearsal",
                seed=spec.protocol.tuning_seeds[0],
                epochs=1,
                family=arm.trained_with,
                config=values,
                **{**training, "batch_size": step},
            )
            told = f"training arms[{n}] = {arm.name!r} in batches of {size}"
            with blamed(where, told):
                trainer = trainer_of(spec, few, "cpu", None)
                trainer.add(run)
                if place == 0:
                    try:
                        trainer.advance()
                    except SingleExampleError as error:
                        # Of all the examples, in place of the few.
                        alone = SingleExampleError(error.said, len(problem.train), size)
                        raise alone.with_traceback(error.__traceback__) from error
            state.restore(f"Trying arm {arm.name!r}")


def _check_loss_at_chance(spec: StudySpec, loop: Loop) -> None:
    """Warn of a study judged by the loss whose loop tells only another metric at chance level."""
    losses = [name for name in spec.protocol.scores if name.endswith("_loss")]
    facts = None if spec.problem.facts is None else spec.problem.facts.task
    if not losses or facts is None:
        return
    metrics, outcome = get_task(loop.task).metrics, facts.outcome.outcome
    measured, loss = metrics[outcome.name], metrics.get("loss")
    if loss is not None and measured.total is not None and measured.total is loss.total:
        return
    # A loss that the task tells by the number of classes is another number.
    if math.isclose(outcome.value(outcome.chance), facts.loss_chance):
        logger.warning(
            "the study is judged by %s, but the Loop of problem.factory = %r tells only the %s at "
            "chance level, chance = %g, which runs that diverge are given as their loss: judge by "
            "'validation_error', or give the Loop a task that is judged by its loss, such as "
            "task='regression' with the MSE as chance",
            losses[0],
            spec.problem.factory,
            outcome.name,
            facts.loss_chance,
        )


def _compare_batch_size(spec: StudySpec, problem: Problem) -> None:
    """Say once that the batch size of a loader is not used, where it is not the study's."""
    from indian_tune.problems.stream import Stream

    train, used = problem.train, spec.problem.batch_size
    searched = all("batch_size" in spec.space(arm.source or arm.name) for arm in spec.arms)
    if searched or not isinstance(train, Stream):
        return
    if train.loader_batch_size not in (None, used):
        logger.warning(
            "batch size %d (that of your DataLoader, %d, is not used: set problem.batch_size)",
            used,
            train.loader_batch_size,
        )


def _rehearse_loops(spec: StudySpec, loop: Loop, state: GlobalState) -> None:
    from indian_tune.training.loop_trainer import NO_NETWORK

    alike, errors = False, []
    # Read by no arm; what only the body of an epoch reads is known of the first arm.
    unread: frozenset[str] = frozenset(OF_LOOPS)
    whole: frozenset[str] | None = None
    for n, arm in enumerate(spec.arms, 1):
        for place, config in enumerate(_configs(spec, arm.name)):
            found = _rehearse_loop(spec, loop, n, arm, config, reports=(n, place) == (1, 0))
            state.restore(f"Trying arm {arm.name!r}")
            if found is not None:
                alike |= found.seeds_alike
                errors += [found.error] if found.error is not None else []
                unread &= found.unread
                if (n, place) == (1, 0) and found.in_time:
                    whole = found.unread
                    if spec.protocol.keep_checkpoints and not found.network:
                        raise InputError(
                            f"problem.factory = {spec.problem.factory!r}: {NO_NETWORK}"
                        )
    if alike:
        logger.warning(
            "train of problem.factory = %r seeds torch's generator itself (torch.manual_seed), so "
            "all seeds of a trial begin alike, and ± is too small: remove that call, or seed with "
            "run.seed",
            spec.problem.factory,
        )
    if whole is not None:
        _warn_of_unread(spec, unread, whole)
    if errors:
        logger.warning(
            "in the trial run before registration, which ends early, the code after the loop over "
            "run.epochs() raised %s: %s. This is harmless if it needs values of the last epoch",
            type(errors[0]).__name__,
            errors[0],
        )


def _warn_of_unread(spec: StudySpec, unread: frozenset[str], whole: frozenset[str]) -> None:
    """Name what decides nothing, though trials would differ in it.

    Args:
        spec: of the study.
        unread: of :data:`OF_LOOPS`, what the loop read with no arm.
        whole: what it has not read in an epoch of the first arm.
    """
    for n, arm in enumerate(spec.arms, 1):
        known = whole.difference(OF_LOOPS) if n == 1 else frozenset()
        for name in sorted(spec.space(arm.name).keys() & (unread | known)):
            logger.warning(
                "the space of arm %r has %s, which the loop did not read when it was tried (%s), "
                "so it seems to have no effect: read it in the loop, or remove it from the space",
                arm.name,
                name,
                f"run.{name}" if name in OF_LOOPS else f"run.config[{name!r}]",
            )


def _rehearse_loop(
    spec: StudySpec,
    loop: Loop,
    n: int,
    arm: ArmSection,
    config: Mapping[str, float],
    *,
    reports: bool,
) -> Rehearsal | None:
    import torch

    from indian_tune.engines.runs import trainer_of
    from indian_tune.engines.trainers import is_final
    from indian_tune.training import LoopTrainer, Run

    values, own = split_training_parameters(config)
    run = Run(
        key="rehearsal",
        seed=spec.protocol.tuning_seeds[0],
        epochs=spec.protocol.tuning_epochs,
        family=arm.trained_with,
        config=values,
        **training_values(own, spec.problem),
    )
    doing = f"calling its loop for arms[{n}] = {arm.name!r}"
    with blamed(f"problem.factory = {spec.problem.factory!r}", doing):
        trainer = trainer_of(spec, loop, "cpu", None)
        assert isinstance(trainer, LoopTrainer)
        try:
            found = trainer.rehearse(run, FIRST_REPORT_SECONDS if reports else None)
        except RuntimeError as error:
            if not reports or is_final(error) or not torch.accelerator.is_available():
                raise
            logger.info("not judged, as the CPU may lack what a GPU has: %s", error)
            return None
        if not found.in_time:
            logger.info("the first epoch takes long: its report is not tried beforehand")
        return found


def check_writable(folder: Path, option: str, *, probe: bool = True) -> None:
    """Check that files can be written to a folder, which need not exist yet; nothing is left in it.

    Args:
        folder: it, or where it will be.
        option: that named it.
        probe: whether to try it, and not to go by permissions alone.

    Raises:
        InputError: they cannot; the message names the option.
    """
    there = folder.absolute()
    while True:
        try:
            there.lstat()
            break
        except (FileNotFoundError, NotADirectoryError):
            there = there.parent
        except OSError as error:
            message = f"{option} = {str(folder)!r} cannot be used as a folder ({error.strerror})"
            raise InputError(f"{message}: choose another folder") from error
    if not there.is_dir():
        raise InputError(f"{option} = {str(folder)!r}: {there} is not a folder: choose another one")
    try:
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if probe:
            # Permissions do not tell: root has all of them, and some file systems take nothing.
            tempfile.TemporaryDirectory(dir=there).cleanup()
    except OSError as error:
        raise InputError(
            f"{option} = {str(folder)!r}: {there} is not writable ({error.strerror}): choose "
            f"another folder with {option}, or change its permissions"
        ) from error


def _configs(spec: StudySpec, arm: str) -> Iterator[Mapping[str, float]]:
    """Yield typical values, then the lower and the upper ends."""
    middle = typical(spec, arm)
    yield middle
    space = spec.space(arm)
    for end in (0, 1):
        values = {**middle, **{name: bounds(each)[end] for name, each in space.items()}}
        if values != middle:
            yield values
