"""How the figures of this package look.

Colours are of the Okabe-Ito palette, which readers with any kind of colour vision can tell apart;
lines differ in dashes and points in shape as well. INDIAN has one hue, its settings differ in
lightness; no other optimizer has that hue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.optim.families import role_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "INDIAN",
    "INK",
    "PALE",
    "ArmStyle",
    "accuracy_axis",
    "arm_styles",
    "canvas",
    "legend",
    "panel_letter",
    "plain_log_ticks",
    "shade",
    "tidy",
    "title",
]

INDIAN = "#0072B2"
INK = "#333333"
PALE = "#B8B8B8"
RIVALS = ("#D55E00", "#009E73", "#E69F00", "#CC79A7", "#7A5C3E", "#8C8C8C")
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# Lightness of the settings of INDIAN, the first as the hue itself.
SHADES = (0.5, 0.78, 0.36, 0.66, 0.9)
# Inches. Between a phone and a column of text, so that both, and a page on paper, show figures
# at about the size at which they were drawn.
WIDTH = 4.4
SMALL, NORMAL = 8, 9


@dataclass(frozen=True)
class ArmStyle:
    """How an arm is drawn, in every figure of a study."""

    color: str | tuple[float, float, float]
    dashes: str | tuple[int, tuple[float, ...]]
    marker: str


def arm_styles(optimizers: Mapping[str, str]) -> dict[str, ArmStyle]:
    """Return how every arm of a study is drawn.

    Neighbours differ in dashes, so that of two arms that do the same both are seen.

    Args:
        optimizers: arm → key of its optimizer, in the order of the study.
    """
    styles = {}
    ours = rivals = 0
    for arm, optimizer in optimizers.items():
        color: str | tuple[float, float, float]
        if role_of(optimizer) == "ours":
            color, turn = shade(SHADES[ours % len(SHADES)]), ours
            ours += 1
        else:
            color, turn = RIVALS[rivals % len(RIVALS)], rivals
            rivals += 1
        place = ours + rivals - 1
        styles[arm] = ArmStyle(color, DASHES[turn % len(DASHES)], MARKERS[place % len(MARKERS)])
    return styles


def canvas(height: float) -> Figure:
    """Return an empty figure in the common width; ``height`` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained")


def legend(figure: Figure, axes: Axes | None = None) -> None:
    """Write what the lines are below a figure, in as many columns as fit.

    Args:
        figure: to write below.
        axes: whose lines are named; all by default.
    """
    first = axes or figure.axes[0]
    handles, labels = first.get_legend_handles_labels()
    # A letter is about half as wide as high; a line sample and its margins take 3 letters each.
    wide = SMALL * (0.55 * max(map(len, labels), default=1) + 5)
    columns = max(1, min(3, int(72 * figure.get_figwidth() / wide)))
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False
    )


def shade(lightness: float) -> tuple[float, float, float]:
    """Return INDIAN's hue from dark (0) over itself (0.5) to pale (1)."""
    from matplotlib.colors import to_rgb

    toward = 0.0 if lightness < 0.5 else 1.0
    share = abs(lightness - 0.5) * 1.4
    red, green, blue = (part * (1 - share) + toward * share for part in to_rgb(INDIAN))
    return red, green, blue


def tidy(axes: Axes) -> None:
    """Leave the axes the two lines and the ticks that carry numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(labelsize=SMALL, color=INK, labelcolor=INK, which="both")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(NORMAL)


def title(axes: Axes, text: str) -> None:
    """Write a panel's title above it, at its left edge."""
    axes.set_title(text, loc="left", fontsize=NORMAL, color=INK)


def plain_log_ticks(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2 and 5 times powers of ten, with plain numbers."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def accuracy_axis(axes: Axes, low: float, high: float) -> None:
    """Give the vertical axis accuracies in percent, spaced by ratios of the error.

    From 98 to 99 % is as far as from 80 to 90 %: half of the errors are gone. Where everything is
    below 80 %, or close together, the axis is linear.

    Args:
        axes: whose vertical axis it is.
        low: lowest accuracy drawn, in percent.
        high: highest.
    """
    ticks = [t for t in (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9) if t >= low]
    if high < 80 or sum(tick <= high for tick in ticks) < 2:
        margin = 0.04 * (high - low or 1)
        axes.set_ylim(max(0.0, low - margin), high + margin)
        return
    nearest = max(100 - high, 0.05)
    axes.set_yscale(
        "function",
        functions=(
            lambda accuracy: -np.log10(np.maximum(100 - accuracy, nearest / 2)),
            lambda place: 100 - 10 ** (-place),
        ),
    )
    axes.set_ylim(max(0.0, 100 - 1.1 * (100 - low)), 100 - 0.85 * nearest)
    shown = [tick for tick in ticks if tick <= 100 - 0.85 * nearest]
    axes.set_yticks(shown, [f"{tick:g}" for tick in shown])


def panel_letter(axes: Axes, letter: str, text: str) -> None:
    """Write a panel's letter and caption above it."""
    title(axes, f"({letter})  {text}")
