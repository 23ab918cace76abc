"""Names of the columns of a study's data frames.

Hyperparameters have the names that optimizers give their arguments, and an argument may well be
called ``seed`` or ``epoch``. In a frame they have a prefix, so that none can hide another column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CONFIG", "config_column", "config_columns", "hyperparameter", "prefixed"]

CONFIG = "config."
"""How the column of a hyperparameter begins."""


def config_column(hyperparameter: str) -> str:
    """Return the column of a hyperparameter: ``config.alpha``."""
    return CONFIG + hyperparameter


def config_columns(columns: Iterable[object]) -> list[str]:
    """Return those of the columns of a frame that are hyperparameters, in their order."""
    return [str(column) for column in columns if str(column).startswith(CONFIG)]


def hyperparameter(column: str) -> str:
    """Return the hyperparameter of a column, as its optimizer calls it."""
    return column.removeprefix(CONFIG)


def prefixed(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a configuration with columns for names; an empty one for ``None``."""
    return {config_column(name): value for name, value in (config or {}).items()}
