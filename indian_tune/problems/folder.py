"""The folder that holds the data sets."""

from __future__ import annotations

import os
from pathlib import Path

DATA_VARIABLE = "INDIAN_TUNE_DATA"


def data_folder(option: str | Path | None = None) -> Path:
    """Return the data folder as an absolute path; it need not exist.

    The first that is given counts: ``option``, the environment variable ``INDIAN_TUNE_DATA``,
    ``indian-tune/data`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``).
    An empty value counts as not given.
    """
    chosen = option or os.environ.get(DATA_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG base directory specification has relative paths ignored.
    if not cache.is_absolute():
        cache = Path.home() / ".cache"
    return cache / "indian-tune" / "data"
