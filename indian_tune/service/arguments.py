"""Refuses arguments of a search from Python that are no options of its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.engines import EngineOptions, engine_options
from indian_tune.errors import InputError
from indian_tune.study import StudySpec

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS = ("search", "protocol", "problem", "claims")
# What others call arguments, such as Optuna.
_INSTEAD = {
    "n_trials": 'the study says it, such as Study(…, search={"trials": 20})',
    "timeout": "the study may have a budget in seconds of training per arm, such as Study(…, "
    'search={"budget": "seconds", "seconds": 600, "trials": 100}). A search that was stopped '
    "continues when it is called again",
    "callbacks": "give on_trial=f for a function of every trial that ends; log=FOLDER writes "
    "TensorBoard's event files, and search.pruner of the study stops trials",
    "quiet": "give progress=False",
    "verbose": "give progress=True or progress=False",
    "show_progress_bar": "give progress=True or progress=False",
    "n_jobs": 'give workers=N with engine="optuna"',
}


def check_arguments(engine: str | EngineOptions, given: Mapping[str, Any]) -> None:
    """Check that further arguments of a search can be options of its engine.

    Args:
        engine: its name, or its options.
        given: the arguments.

    Raises:
        InputError: one is not, and the message says what is used instead; or the engine has its
            options already.
    """
    if isinstance(engine, EngineOptions):
        for name, value in given.items():
            raise InputError(
                f"{name} = {value!r} is not used with engine = {engine!r}, which holds its options "
                "already: give it there"
            )
        return
    known = type(engine_options(engine, {})).model_fields
    for name in given.keys() - known.keys():
        instead = _INSTEAD.get(name) or _in_study(name)
        if instead is not None:
            raise InputError(f"search() has no argument {name}: {instead}")


def _in_study(name: str) -> str | None:
    """Return where a study says what an argument was meant to say; ``None`` if nowhere."""
    found = [
        f"{section}.{name}"
        for section in SECTIONS
        if name in getattr(StudySpec.model_fields[section].annotation, "model_fields", {})
    ]
    return f"the study says it, in {' or '.join(found)}" if found else None
