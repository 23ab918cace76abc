"""How the figures of this package look."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INDIAN", "INK", "PALE", "panel_letter", "shade", "tidy"]

# INDIAN has one hue, told apart from every other colour of the Okabe-Ito palette by colour-blind
# readers too; settings of INDIAN differ in lightness and line style.
INDIAN = "#0072B2"
INK = "#333333"
PALE = "#B8B8B8"


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
    axes.tick_params(labelsize=8, color=INK, labelcolor=INK)


def panel_letter(axes: Axes, letter: str, text: str) -> None:
    """Write a panel's letter and caption above it."""
    axes.set_title(f"({letter})  {text}", loc="left", fontsize=9, color=INK)
