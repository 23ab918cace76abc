"""A Ray of one's own: it listens on the loopback interface only, and a token guards it."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path


def prepare_own_cluster() -> None:
    """Let a cluster that this process will start be reached by processes of the same user alone.

    Ray listens on every interface by default, and whoever reaches a cluster may run code in it.
    Both settings are read when Ray is imported: where it is already, Ray's own defaults hold. The
    file of the token is made here, because Ray would make it readable by all. A token that the
    user has chosen is kept.
    """
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    token = Path.home() / ".ray/auth_token"
    if token.exists():
        token.chmod(0o600)
        return
    token.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
