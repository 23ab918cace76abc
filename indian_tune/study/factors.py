"""``[[factors]]``: arms of a factorial design, written out before anything else is read.

Every arm is replaced by one arm per combination of levels, named ``arm-level-level…``, whose space
is overridden by the levels' values. What is registered are the arms, written out.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from pydantic import Field, TypeAdapter, ValidationError

from indian_tune.errors import StudyFileError
from indian_tune.study.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The factors of H4, whose first level is "default" or "off" and whose second "tuned" or "on".
H4_FACTORS = ("tuning", "dropout", "weight_decay")


class FactorSection(Section):
    """One factor: its levels in order, each with the values that it gives to an arm's space."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    levels: dict[str, dict[str, Any]] = Field(min_length=2)


_FACTORS = TypeAdapter(list[FactorSection])


def expand(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study file as plain data with its factors multiplied out.

    A design whose factors are tuning, dropout and weight_decay with two levels each, over one
    arm, is that of H4, and stands as such in the claims.

    Args:
        raw: what the TOML said; without factors it is returned as it is.

    Raises:
        StudyFileError: the factors are not valid.
    """
    if "factors" not in raw:
        return dict(raw)
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
    names = [factor.name for factor in factors]
    for n, name in enumerate(names, 1):
        if name in names[: n - 1]:
            raise StudyFileError(f"factors[{n}].name = {name!r} stands twice: give it another name")
    arms = raw.get("arms")
    if not isinstance(arms, list) or not all(isinstance(arm, dict) for arm in arms):
        raise StudyFileError("factors need [[arms]] whose spaces they override: give at least one")
    out = {key: value for key, value in raw.items() if key != "factors"}
    out["arms"] = [
        _arm(arm, factors, point)
        for arm in arms
        for point in itertools.product(*(factor.levels for factor in factors))
    ]
    cells = _h4(arms, factors)
    claims = raw.get("claims", {})
    if cells and isinstance(claims, dict) and "h4" not in claims:
        out["claims"] = {**claims, "h4": {"cells": cells}}
    return out


def _arm(
    arm: Mapping[str, Any], factors: Sequence[FactorSection], point: Sequence[str]
) -> dict[str, Any]:
    space = arm.get("space", {})
    merged = dict(space) if isinstance(space, dict) else {}
    for factor, level in zip(factors, point, strict=True):
        merged |= factor.levels[level]
    return {**arm, "name": "-".join((str(arm.get("name")), *point)), "space": merged}


def _h4(
    arms: Sequence[Mapping[str, Any]], factors: Sequence[FactorSection]
) -> list[dict[str, Any]]:
    by_name = {factor.name: factor for factor in factors}
    two = all(len(factor.levels) == 2 for factor in factors)
    if len(arms) != 1 or sorted(by_name) != sorted(H4_FACTORS) or not two:
        return []
    return [
        {
            "arm": _arm(arms[0], factors, point)["name"],
            **{
                ("tuned" if factor.name == "tuning" else factor.name): level
                == list(factor.levels)[1]
                for factor, level in zip(factors, point, strict=True)
            },
        }
        for point in itertools.product(*(factor.levels for factor in factors))
    ]
