"""``[[factors]]``: arms of a factorial design, written out before anything else is read.

Every arm is replaced by one arm per combination of levels, named ``arm-level-level…``, whose space
is overridden by the levels' values. One with ``crossed = false`` stays beside the design as it is.
What is registered are the arms, written out.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field, TypeAdapter, ValidationError

from indian_tune.errors import StudyFileError
from indian_tune.study.file.section import MAX_ARMS, Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class FactorSection(Section):
    """One factor: its levels in order, each with the values that it gives to an arm's space."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    levels: dict[str, dict[str, Any]] = Field(min_length=2)


# Key of an arm; with false it is not multiplied out.
CROSSED = "crossed"
_FACTORS = TypeAdapter(list[FactorSection])


@dataclass(frozen=True)
class DesignedArm:
    """An arm that factors made: its name, and which level of every factor it has, from 0."""

    name: str
    levels: Mapping[str, int]


def expand(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study file as plain data with its factors multiplied out.

    Args:
        raw: what the TOML said; without factors it is returned as it is.

    Raises:
        StudyFileError: the factors are not valid.
    """
    if "factors" not in raw:
        listed = raw.get("arms")
        for n, arm in enumerate(listed if isinstance(listed, list) else (), 1):
            if isinstance(arm, dict) and CROSSED in arm:
                raise StudyFileError(
                    f"arms[{n}].{CROSSED} is used with [[factors]] only, but there are none: add "
                    "factors, or remove it"
                )
        return dict(raw)
    factors = _read(raw)
    arms = raw.get("arms")
    if not isinstance(arms, list) or not all(isinstance(arm, dict) for arm in arms):
        raise StudyFileError("[[factors]] need [[arms]] to override: give at least one arm")
    for n, arm in enumerate(arms, 1):
        crossed = arm.get(CROSSED, True)
        if not isinstance(crossed, bool):
            raise StudyFileError(f"arms[{n}].{CROSSED} = {crossed!r} must be true or false")
        if crossed and arm.get("response_of") is not None:
            raise StudyFileError(
                f"arms[{n}].response_of = {arm['response_of']!r} cannot be combined with "
                f"[[factors]], which give every arm a space: add {CROSSED} = false to it"
            )
    out = {key: value for key, value in raw.items() if key != "factors"}
    out["arms"] = [
        made
        for arm in arms
        for made in (
            [_arm(arm, factors, point) for point in _points(factors)]
            if arm.get(CROSSED, True)
            else [{key: value for key, value in arm.items() if key != CROSSED}]
        )
    ]
    return out


def designed(raw: Mapping[str, Any]) -> list[DesignedArm]:
    """Return the arms that :func:`expand` makes of the factors of a valid study file, if any."""
    if "factors" not in raw:
        return []
    factors = _read(raw)
    return [
        DesignedArm(
            _name(arm, point),
            {
                factor.name: list(factor.levels).index(level)
                for factor, level in zip(factors, point, strict=True)
            },
        )
        for arm in raw["arms"]
        if arm.get(CROSSED, True)
        for point in _points(factors)
    ]


def _read(raw: Mapping[str, Any]) -> list[FactorSection]:
    try:
        factors = _FACTORS.validate_python(raw["factors"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p + 1) if isinstance(p, int) else str(p) for p in first["loc"])
        raise StudyFileError(
            f"factors.{where} = {first['input']!r}: {first['msg']}; a factor is a name and at "
            'least two levels, such as name = "dropout", levels = {off = {dropout = 0.0}, on = '
            "{dropout = 0.5}}"
        ) from error
    cells = math.prod(len(factor.levels) for factor in factors)
    if cells > MAX_ARMS:
        raise StudyFileError(
            f"factors have {cells} combinations of their levels, but at most {MAX_ARMS} are "
            "allowed: remove factors or levels"
        )
    names = [factor.name for factor in factors]
    for n, name in enumerate(names, 1):
        if name in names[: n - 1]:
            raise StudyFileError(
                f"factors[{n}].name = {name!r} is used twice: give it another name"
            )
    return factors


def _points(factors: Sequence[FactorSection]) -> itertools.product[tuple[str, ...]]:
    """Return every combination of levels, the last factor changing first."""
    return itertools.product(*(factor.levels for factor in factors))


def _name(arm: Mapping[str, Any], point: Sequence[str]) -> str:
    return "-".join((str(arm.get("name")), *point))


def _arm(
    arm: Mapping[str, Any], factors: Sequence[FactorSection], point: Sequence[str]
) -> dict[str, Any]:
    space = arm.get("space", {})
    merged = dict(space) if isinstance(space, dict) else {}
    for factor, level in zip(factors, point, strict=True):
        merged |= factor.levels[level]
    return {**arm, "name": _name(arm, point), "space": merged}
