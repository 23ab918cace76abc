"""The table of engines, and how one is built from its name and options."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from indian_tune.engines.engine import EngineOptions
from indian_tune.errors import InputError, alternatives, unknown_name
from indian_tune.imports import entry_point_names, load_named
from indian_tune.study.file.messages import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

ENGINES = {
    "inline": "indian_tune.engines.local.inline:InlineOptions",
    "optuna": "indian_tune.engines.local.processes:ProcessOptions",
    "ray": "indian_tune.engines.ray.engine:RayOptions",
}
"""The engines of the package: name → the options of one, which make it."""

ENTRY_POINTS = "indian_tune.engines"
"""Group by which an installed package names its own; it cannot replace one of the package."""


def engine_names() -> list[str]:
    """Return the names of the engines of the package and of installed ones, sorted."""
    return sorted({*ENGINES, *entry_point_names(ENTRY_POINTS)})


def engine_options(engine: str, given: Mapping[str, Any]) -> EngineOptions:
    """Return the options of an engine; :meth:`EngineOptions.make` makes it.

    Args:
        engine: its name.
        given: options that differ from their defaults, by name.

    Raises:
        InputError: there is no such engine, or it has no such option or value; the message names
            the option as the command line has it.
    """
    options = _options_class(engine)
    for name, value in given.items():
        if name not in options.model_fields:
            raise InputError(_refusal(engine, options, name, value))
    try:
        return options(**given)
    except ValidationError as error:
        # What is wrong with several options together has no location.
        lines = [
            describe(each, options, _spelled(str(each["loc"][0])) if each["loc"] else None)
            for each in error.errors()
        ]
        raise InputError("\n".join(lines)) from error


def _options_class(engine: str) -> type[EngineOptions]:
    if engine in ENGINES:
        return _shipped(engine)
    if engine not in engine_names():
        raise InputError(unknown_name("--engine", engine, engine_names()))
    options = load_named(engine, key="--engine", group=ENTRY_POINTS)
    if not isinstance(options, type) or not issubclass(options, EngineOptions):
        raise InputError(
            f"--engine = {engine!r}: the entry point names {options!r}, which must be a subclass "
            "of indian_tune.engines.EngineOptions: tell the makers of its package"
        )
    return options


def _shipped(engine: str) -> type[EngineOptions]:
    module, _, name = ENGINES[engine].partition(":")
    options: type[EngineOptions] = getattr(importlib.import_module(module), name)
    return options


def _refusal(engine: str, options: type[EngineOptions], name: str, value: object) -> str:
    shown = _spelled(name) if value is True else f"{_spelled(name)} = {value}"
    message = f"{shown} is not for --engine {engine}"
    if name in options.INSTEAD:
        message += f": {options.INSTEAD[name]}"
    others = _takers(name)
    if others:
        return f"{message}: leave it out, or use --engine {' or '.join(others)}"
    if not options.model_fields:
        return f"{message}, which has no options: leave it out"
    return f"{message}.{alternatives(name, options.model_fields)}"


def _spelled(name: str) -> str:
    """Return how an option is given on the command line."""
    return "--" + name.replace("_", "-") if _takers(name) else f"--engine-option {name}"


def _takers(name: str) -> list[str]:
    """Return the engines of the package that take an option."""
    return [each for each in ENGINES if name in _shipped(each).model_fields]
