"""Tunes the INDIAN optimizer and its rivals, and tests whether tuning (α, β) regularizes.

``Indian`` is importable from here; it is looked up on first use so that ``import indian_tune``
stays light (the command line must not pay for torch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune._version import __version__

if TYPE_CHECKING:
    from indian_tune.optim.indian import Indian

__all__ = ["Indian", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Indian":
        from indian_tune.optim.indian import Indian

        return Indian
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
