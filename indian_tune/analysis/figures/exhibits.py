"""All figures for which a study has data, with captions and tables."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from typing import TYPE_CHECKING

from indian_tune.analysis.frame import scored
from indian_tune.analysis.trials import with_failed
from indian_tune.analysis.verdict import Scope
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indian_tune.analysis.figures.exhibit import Exhibit, Material

PACKAGE = "indian_tune.analysis.figures"


def exhibits(material: Material) -> Iterator[Exhibit]:
    """Yield every figure for which there are data, the most telling first.

    Runs on the fresh seeds that did not train are drawn as those that diverged: in no mean.
    """
    scope = Scope() if material.verdict is None else material.verdict.scope
    frame = with_failed(scored(material.frame, scope.judged), scope.trained_score)
    material = dataclasses.replace(material, frame=frame)
    for make in makers():
        try:
            yield make(material)
        except NoDataError:
            continue


def makers() -> list[Callable[[Material], Exhibit]]:
    """Return what the modules of figures name in ``EXHIBITS``, in the order of their places.

    Raises:
        ValueError: two exhibits have one place.
    """
    placed: dict[int, Callable[[Material], Exhibit]] = {}
    for found in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__):
        module = importlib.import_module(f"{PACKAGE}.{found.name}")
        for place, make in getattr(module, "EXHIBITS", {}).items():
            if place in placed:
                raise ValueError(f"place {place} is used twice, the second time in {found.name}")
            placed[place] = make
    return [placed[place] for place in sorted(placed)]
