"""A table of flatness with a line per arm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.analysis.flatness import MEASURES, ArmFlatness, summarise_flatness
from indian_tune.service.output import number, table

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

TITLE = "Flatness at the end of training, mean and 95 % interval over fresh seeds (descriptive)"


def flatness_table(frame: pd.DataFrame) -> Table:
    """Return the flatness of every arm.

    Args:
        frame: a row per run, from ``engines.flatness.flatness_frame``.
    """
    headings = [
        label.replace(", ", ",\n").replace(" Hessian", "\nHessian") for label in MEASURES.values()
    ]
    numbers = ("seeds", "η", *headings)
    shown = table("arm", *numbers, title=TITLE, right=numbers)
    cells: dict[str, list[ArmFlatness]] = {}
    for summary in summarise_flatness(frame):
        cells.setdefault(summary.arm, []).append(summary)
    for arm, row in cells.items():
        counts = sorted({summary.n for summary in row})
        seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        shown.add_row(arm, seeds, number(row[0].rate), *map(_amount, row))
    return shown


def _amount(summary: ArmFlatness) -> str:
    if not (math.isfinite(summary.low) and math.isfinite(summary.high)):
        return number(summary.mean)
    return f"{number(summary.mean)}\n{number(summary.low)}, {number(summary.high)}"
