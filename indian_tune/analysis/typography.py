"""Numbers as papers print them."""

from __future__ import annotations

import math


def signed_points(share: float | None) -> str:
    """Return a share in percentage points, with its sign."""
    if share is None:
        return "–"
    if math.isinf(share):
        return "−∞" if share < 0 else "∞"
    return f"{100 * share:+.2f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """Return a p-value as papers print it."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
