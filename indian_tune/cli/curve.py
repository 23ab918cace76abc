"""Small learning curves in characters, without colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

EIGHTHS = " ▁▂▃▄▅▆▇█"
HEIGHT = 5
# Two curves with their labels fit side by side into 80 columns.
WIDTH = 28
LABEL = 7


def curves(series: Mapping[str, Sequence[float]]) -> RenderableType:
    """Return the curves of one run, two side by side, each under its name.

    Args:
        series: name → value per epoch; one that is not finite leaves a gap.
    """
    shown = Table.grid(padding=(0, 3, 0, 0))
    texts = [
        f"{name}\n{curve(values)}"
        for name, values in series.items()
        if any(map(math.isfinite, values))
    ]
    for _ in texts[:2]:
        shown.add_column(no_wrap=True)
    for start in range(0, len(texts), 2):
        shown.add_row(*texts[start : start + 2])
    return shown


def curve(values: Sequence[float], *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return values as a chart of ``height`` lines, and a line for the axis of epochs.

    The highest value fills a column, the lowest an eighth of a line, and one that is not finite
    leaves its columns empty. Few values are as many columns wide as fit. More values than columns
    are thinned to the last of each stretch, so that the end is always the end.

    Args:
        values: one per epoch, at least one of them finite.
        width: columns of the chart, without its labels.
        height: lines of the chart.
    """
    shown = _fitted(values, width)
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite), max(finite)
    levels = [_level(value, low, high, height) for value in shown]
    lines = []
    for line in range(height - 1, -1, -1):
        label = ""
        if line == 0:
            label = f"{low:.3g}"
        elif line == height - 1 and high > low:
            label = f"{high:.3g}"
        bar = "".join(EIGHTHS[min(8, max(0, level - 8 * line))] for level in levels)
        lines.append(f"{label:>{LABEL}} ┤{bar}" if label else f"{'':>{LABEL}} │{bar}")
    last = f" {len(values)}" if len(values) > 1 else ""
    axis = f"1{last:>{len(shown) - 1}}"
    return "\n".join([*lines, f"{'epoch':>{LABEL}}  {axis}"])


def _fitted(values: Sequence[float], width: int) -> list[float]:
    if len(values) <= width:
        return [value for value in values for _ in range(width // len(values))]
    return [values[-(-(column + 1) * len(values) // width) - 1] for column in range(width)]


def _level(value: float, low: float, high: float, height: int) -> int:
    if not math.isfinite(value):
        return 0
    if high == low:
        return 1
    return 1 + round((8 * height - 1) * (value - low) / (high - low))
