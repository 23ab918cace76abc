"""``first`` of an arm: configurations that are tried before the sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.errors import StudyFileError, alternatives
from indian_tune.optim.families import FAMILIES, get_family
from indian_tune.optim.hyperparameters import LABELS, as_value
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.file.space import Constant, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.optim.hyperparameters import Value
    from indian_tune.study.file.arm import ArmSection
    from indian_tune.study.file.search import SearchSection
    from indian_tune.study.file.space import Space


def check_first(
    arm: ArmSection, space: Space, earlier: Sequence[ArmSection], search: SearchSection, where: str
) -> None:
    """Check that what an arm is to try first can be tried.

    Args:
        arm: whose ``first`` it is.
        space: of that arm.
        earlier: arms before it in the file.
        search: of the study.
        where: key in the study file, for messages.

    Raises:
        StudyFileError: the message names the key, the value and what is allowed.
    """
    given = arm.first or []
    if not given:
        return
    if not arm.searched:
        raise StudyFileError(f"{where} is not used by an arm that is not searched: remove it")
    if search.sampler.enumerates:
        raise StudyFileError(
            f"{where} cannot be given with search.sampler = {search.sampler.name!r}, which tries "
            "every point of the grid: remove it, or use another sampler"
        )
    if len(given) > search.trials:
        raise StudyFileError(
            f"{where} has {len(given)} configurations, more than search.trials = {search.trials}: "
            "raise search.trials, or remove some"
        )
    for n, each in enumerate(given, 1):
        if isinstance(each, str):
            _check_arm(arm, each, earlier, search, f"{where}[{n}]")
        else:
            _check_point(each, space, f"{where}[{n}]")


def first_point(
    arm: ArmSection, space: Space, index: int, winners: Mapping[str, Mapping[str, Value]]
) -> dict[str, Value] | None:
    """Return what an arm tries at an index before its sampler is asked.

    A winner of another arm is expressed in this arm's hyperparameters, and each value moved to the
    nearest one of the space.

    Args:
        arm: whose trial it is.
        space: of that arm.
        index: of the trial.
        winners: the best configurations of the arms that it waits for, with training parameters
            such as dropout, by name; an arm without a winner is not among them.

    Returns:
        A value for everything that is searched; ``None`` where the sampler is to be asked.
    """
    given = arm.first or []
    if index >= len(given):
        return None
    each = given[index]
    if isinstance(each, dict):
        return {name: _value(name, each[name]) for name in _searched(space) if name in each}
    if each not in winners:
        return None
    config = winners[each]
    return {
        name: nearest(parameter, config.get(name, 0.0))
        for name, parameter in space.items()
        if not isinstance(parameter, Constant)
    }


def as_family(optimizer: str, source: str, config: Mapping[str, Value]) -> dict[str, Value]:
    """Return a winner of one arm in the hyperparameters of an arm of INDIAN.

    SGD is INDIAN with αβ = 1, for which α = β = 1 stand.

    Args:
        optimizer: family of the arm that takes the winner over, one that adopts.
        source: family of the winner, plain or one that adopts.
        config: of the winner, training parameters included.
    """
    own, training = split_training_parameters(config)
    family, adopt = get_family(source), get_family(optimizer).adopt
    assert adopt is not None
    complete = family.complete(own)
    if family.adopt is None:
        complete = FAMILIES["indian"].complete({**complete, "alpha": 1.0, "beta": 1.0})
    return {**adopt(complete), **training}


def _check_arm(
    arm: ArmSection,
    name: str,
    earlier: Sequence[ArmSection],
    search: SearchSection,
    where: str,
) -> None:
    known = {each.name: each for each in earlier if each.searched}
    if name not in known:
        raise StudyFileError(
            f"{where} = {name!r} is not a searched arm that the file lists before "
            f"{arm.name!r}.{alternatives(name, known) if known else ''}"
        )
    if arm.family.adopt is None:
        able = [repr(name) for name, family in FAMILIES.items() if family.adopt is not None]
        raise StudyFileError(
            f"{where} = {name!r} names the winner of another arm, and only arms of "
            f"{', '.join(able)} can try that: give values instead"
        )
    source = known[name].family
    if source.adopt is None and not source.plain:
        raise StudyFileError(
            f"{where} = {name!r} is an arm of {source.name}, whose steps INDIAN cannot reproduce: "
            "choose an arm of INDIAN or of SGD"
        )
    if search.budget != "trials":
        raise StudyFileError(
            f"{where} = {name!r} needs a fixed number of trials of that arm, but search.budget = "
            f"{search.budget!r} does not fix it: use budget = 'trials'"
        )


def _check_point(point: Mapping[str, Value], space: Space, where: str) -> None:
    searched = _searched(space)
    for name in [*point, *searched]:
        if name not in point:
            raise StudyFileError(f"{where}.{name} is missing: {name} is searched, so give a value")
        value, constant = _value(name, point[name]), space.get(name)
        if isinstance(constant, Constant) and value == constant.value:
            # As in the best configuration of another study.
            continue
        if name not in searched:
            raise StudyFileError(f"{where}.{name} is not searched.{alternatives(name, searched)}")
        if nearest(space[name], value) != value:
            raise StudyFileError(
                f"{where}.{name} = {point[name]!r} is outside the searched values: give one of "
                f"them, such as {nearest(space[name], value)!r}"
            )


def _searched(space: Space) -> list[str]:
    return [name for name, each in space.items() if not isinstance(each, Constant)]


def _value(name: str, raw: object) -> Value:
    """Return what a sampler would give for a value; schedules have numbers there."""
    value = as_value(raw)
    labels = LABELS.get(name, ())
    return float(labels.index(value)) if value in labels else value
