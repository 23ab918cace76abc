"""The commit of the source tree that this package is run from."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.lru_cache(maxsize=1)
def source_commit() -> str | None:
    """Return the commit that is checked out, ``None`` for a package that is installed.

    It is read from git's own files, so no git is needed, and changes since are not seen.
    """
    return commit_of(Path(__file__).parents[1])


def commit_of(tree: Path) -> str | None:
    """Return the commit that is checked out in a source tree; ``None`` if it cannot be told."""
    try:
        folder = tree / ".git"
        if folder.is_file():
            # A further work tree of a repository.
            folder = tree / folder.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        shared = folder / "commondir"
        common = folder / shared.read_text(encoding="utf-8").strip() if shared.exists() else folder
        if (common / name).exists():
            return (common / name).read_text(encoding="utf-8").strip()
        for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines():
            if line.endswith(f" {name}"):
                return line.split()[0]
    except (OSError, UnicodeDecodeError):
        pass
    return None
