"""Checks a user's own code before a study is registered, and records its version."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from indian_tune.engines.exclusive import training_alone
from indian_tune.engines.interrupt import guarded
from indian_tune.engines.rehearsal import check_loop, rehearse
from indian_tune.engines.runs import check_trains, problem_of
from indian_tune.errors import CheckpointError, InputError
from indian_tune.imports import imports_allowed, source_of
from indian_tune.ledger.slots import OWN_CODE
from indian_tune.optim.families import FAMILIES
from indian_tune.optim.hyperparameters import is_number
from indian_tune.optim.optimizer_check import check_optimizer
from indian_tune.optim.own_family import ENTRY_POINTS as OPTIMIZERS
from indian_tune.optim.own_family import is_own
from indian_tune.problems.loop import Loop
from indian_tune.problems.problem import ENTRY_POINTS as PROBLEMS
from indian_tune.study.examples import example_counts
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.file.problem_summary import ProblemSummary
from indian_tune.study.file.schedules import check_warmup
from indian_tune.study.file.space import bounds, values_of
from indian_tune.study.file.spec import parse_study
from indian_tune.study.typical import typical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from indian_tune.imports import Source
    from indian_tune.ledger import EventRecord, Ledger
    from indian_tune.optim.hyperparameters import Value
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.study.optuna.methods import Method
    from indian_tune.study.registered_study import RegisteredStudy


def prepared(
    spec: StudySpec,
    imports: Sequence[str] | None,
    on_own_code: Callable[[], None] = lambda: None,
    *,
    trains: bool = False,
) -> StudySpec:
    """Try a study's own code, and return the study with what only that code says of itself.

    A study that names none is returned as it is, and torch is not loaded. Options of samplers and
    pruners are tried as well. Ctrl-C ends the trial, and twice the process, whatever the code does.

    Args:
        spec: as its file says it.
        imports: folders in which modules are looked for; ``None`` if none may be imported.
        on_own_code: called before the first of its code is run.
        trains: whether a loop needs a function that trains.

    Raises:
        InputError: the code may not be imported, is not found, or cannot be used; the message
            names the key.
    """
    check_warmups(spec)
    with guarded_own_code(spec), imports_allowed(imports):
        if names_own_code(spec):
            on_own_code()
        check_optimizers(spec)
        check_methods(spec)
        plain = spec.canonical()
        for method in _methods(spec):
            plain["search"][method.WORD] = method.completed().plain()
        problem = None if spec.problem.factory is None else problem_of(spec, None)
        if problem is not None:
            if trains:
                check_trains(spec, problem)
            if isinstance(problem, Loop):
                check_loop(spec)
            summary = ProblemSummary.of(problem)
            plain["problem"]["facts"] = summary.model_dump(mode="json")
        if plain != spec.canonical():
            spec = parse_study(plain, source=f"study {spec.name!r}")
        if problem is not None:
            rehearse(spec, problem)
    return spec


def names_own_code(spec: StudySpec) -> bool:
    """Whether a study names code of its user's."""
    return (
        spec.problem.factory is not None
        or any(is_own(arm.optimizer, FAMILIES) for arm in spec.arms)
        or any(method.own for method in _methods(spec))
    )


@contextmanager
def guarded_own_code(spec: StudySpec) -> Iterator[None]:
    """Let own code run within the block; for a study that names none this does nothing.

    See :func:`guarded`, and :func:`training_alone`: it may train, and others wait until it is over.
    """
    if not names_own_code(spec):
        yield
        return
    with training_alone(briefly=True), guarded():
        yield


def check_optimizers(spec: StudySpec) -> None:
    """Try every optimizer that is not of the catalog, with typical values and the ends of ranges.

    Of the catalog, an optimizer's package has to be installed.

    Raises:
        InputError: see :func:`prepared`.
    """
    for n, arm in enumerate(spec.arms, 1):
        if arm.optimizer in FAMILIES:
            FAMILIES[arm.optimizer].check_installed()
            continue
        space = spec.space(arm.name)
        usual = typical(spec, arm.name)
        ends = [{name: bounds(each)[end] for name, each in space.items()} for end in (0, 1)]
        # What a text or a truth value stands for is known when each has been tried.
        listed = [
            {**usual, name: value}
            for name, each in space.items()
            for value in values_of(each)
            if not is_number(value)
        ]
        for config in (usual, *ends, *listed):
            try_optimizer(arm.optimizer, config, key=f"arms[{n}].optimizer")


def try_optimizer(name: str, config: Mapping[str, Value], *, key: str) -> None:
    """Take two steps with an optimizer, see :func:`check_optimizer`, and look at its state.

    Args:
        name: of its family.
        config: of an arm, training parameters included.
        key: of the study file that names the optimizer, for messages.

    Raises:
        InputError: it cannot take them, or no checkpoint can hold its state.
    """
    from indian_tune.training.checkpoint import check_plain

    own, training = split_training_parameters(config)
    averaged = training.get("ema_decay", 0.0) > 0
    optimizer = check_optimizer(name, own, key=key, averaged=averaged)
    try:
        check_plain(optimizer.state_dict(), "its state")
    except CheckpointError as error:
        raise InputError(f"{key} = {name!r} cannot be tuned: {error}") from error


def check_warmups(spec: StudySpec) -> None:
    """Refuse a warm-up that is longer than the shortest run, where its length can be told.

    Raises:
        InputError: the message names the key.
    """
    if spec.problem.dataset is None and spec.problem.facts is None:
        return
    train = example_counts(spec)[0]
    for n, arm in enumerate(spec.arms, 1):
        space = spec.space(arm.name)
        batch = bounds(space["batch_size"])[1] if "batch_size" in space else spec.problem.batch_size
        epochs = spec.protocol.tuning_epochs if arm.searched else spec.protocol.epochs
        check_warmup(space, epochs * math.ceil(train / batch), f"arms[{n}].space")


def check_methods(spec: StudySpec) -> None:
    """Try a sampler and a pruner of one's own, and any with options.

    Raises:
        InputError: see :func:`prepared`.
    """
    sampler, pruner = spec.search.sampler.completed(), spec.search.pruner.completed()
    for arm in spec.searched_arms:
        if sampler.own or sampler.given:
            sampler.try_out(spec.space(arm), len(spec.protocol.scores))
        if pruner.own or pruner.given:
            pruner.try_out(spec.space(arm), spec.protocol.tuning_epochs)


def _methods(spec: StudySpec) -> tuple[Method, ...]:
    return spec.search.sampler, spec.search.pruner


def sources(spec: StudySpec) -> list[Source]:
    """Return where the references of a study lead from here, as far as they lead anywhere."""
    named = {arm.optimizer: OPTIMIZERS for arm in spec.arms if is_own(arm.optimizer, FAMILIES)}
    named |= {each.name: each.ENTRY_POINTS for each in _methods(spec) if each.own}
    if spec.problem.factory is not None:
        named[spec.problem.factory] = PROBLEMS
    found = [source_of(reference, group) for reference, group in named.items()]
    return [source for source in found if source is not None]


def remember(study: RegisteredStudy[Ledger]) -> list[str]:
    """Record where a study's references lead, and again whenever that has changed.

    Returns:
        A sentence for every module that is not what it was when the study was registered.
    """
    now = {source.reference: source for source in sources(study.spec)}
    if not now:
        return []
    events = study.ledger.events(study.id, OWN_CODE)
    if not events or _changed(now, events[-1]):
        told = {"sources": [asdict(source) for source in now.values()]}
        study.ledger.record_event(study.id, OWN_CODE, told)
    return [
        f"the code of {name} is not what it was when study {study.name!r} was registered: runs "
        "from before and from now on may differ; run a new study with --as NEW-NAME to keep them "
        "apart"
        for name in (_changed(now, events[0]) if events else ())
    ]


def _changed(now: Mapping[str, Source], known: EventRecord) -> list[str]:
    """Return the names of the code that is not what an event says."""
    before = {each["reference"]: each for each in known.data["sources"]}
    found = [now[name].differs(each) for name, each in before.items() if name in now]
    found.append([name for name in now if name not in before])
    return list(dict.fromkeys(name for names in found for name in names))


def folders(*more: Path) -> tuple[str, ...]:
    """Return the folders in which modules are looked for: the current one, and others."""
    return tuple(dict.fromkeys(str(each.absolute()) for each in (Path.cwd(), *more)))
