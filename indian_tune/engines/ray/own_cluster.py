"""A private Ray cluster: it listens on the loopback interface and requires a token."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import sys
import sysconfig
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)

# What an actor needs.
MODULES = (
    *("torch", "ray.tune", "indian_tune.engines.ray.actor", "indian_tune.engines.trials_in_hand"),
    *("indian_tune.problems.splits", "indian_tune.problems.tasks.classification"),
    *("indian_tune.training.global_state", "indian_tune.training.trainer"),
)


def prepare_own_cluster() -> None:
    """Let a cluster that this process will start be reached by processes of the same user alone.

    Ray listens on every interface by default, and whoever reaches a cluster may run code in it.
    Both settings are read when Ray is imported: where it is already, Ray's own defaults hold. The
    file of the token is made here, because Ray would make it readable by all. A token that the
    user has chosen is kept.
    """
    # By default Ray's workers have niceness 15: on a machine with other work they hardly begin.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Ray's workers load them while this process loads Ray Tune.
    os.environ.setdefault("RAY_preload_python_modules", ",".join(filter(_found_by_all, MODULES)))
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    token = Path.home() / ".ray/auth_token"
    try:
        if token.exists():
            token.chmod(0o600)
        else:
            _write_once(token, secrets.token_hex(32))
    except OSError as error:
        logger.warning("The file of Ray's token, %s, cannot be made private: %s", token, error)


def show_token() -> None:
    """Let a cluster that this process will join see the token of this account, if there is one.

    `ray start` asks for a token as soon as the account has one, as it has after a search on a
    cluster of its own; Ray's other programs offer it only if they are told to. A cluster without a
    token takes no notice.
    """
    known = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if known or (Path.home() / ".ray/auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _found_by_all(module: str) -> bool:
    """Whether every process finds the module where this one does.

    Ray's workers load it before they know what this process has put on its path.
    """
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec is None or spec.origin is None:
        return False
    everywhere = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    everywhere += os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return str(Path(spec.origin).parents[1]) in everywhere


def _write_once(file: Path, text: str) -> None:
    """Write a file that others of the same user may write at this moment: the first one counts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # Whole under another name before it has this one; readable by its user alone.
    with tempfile.NamedTemporaryFile("w", dir=file.parent) as written:
        written.write(text)
        written.flush()
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(written.name)
