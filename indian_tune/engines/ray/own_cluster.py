"""A Ray of one search alone: it listens on the loopback interface only, and a token guards it."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@contextmanager
def private_cluster() -> Iterator[None]:
    """Let a cluster that is started within the block be reached by its own processes alone.

    Ray listens on every interface by default, and whoever reaches a cluster may run code in it. To
    be entered before Ray is imported, which reads these variables then. A token that the user has
    chosen is kept. Otherwise it is in the environment, which only the same user can read: the
    file that Ray would write is readable by all.
    """
    settings = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    if not any(name in os.environ for name in _TOKEN):
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
