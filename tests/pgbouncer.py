"""PgBouncer before a private PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def pgbouncer(
    address: str, sessions: int = 2, settings: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run PgBouncer in transaction mode before a server; give its port.

    Args:
        address: of any database of the server.
        sessions: of the server that all transactions share, so that one transaction's session is
            another's in the next.
        settings: more of them.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        reason = "PgBouncer is missing: install the package pgbouncer"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    url = make_url(address)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Not below the test's own folder, which the pooler's user may not enter.
    with tempfile.TemporaryDirectory(prefix="pgb-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "users").write_text('"tester" ""\n')
        file = folder / "pgbouncer.ini"
        given = {
            **{"listen_addr": "127.0.0.1", "listen_port": str(port), "unix_socket_dir": ""},
            # any: whoever connects is the user that the database's entry names.
            **{"auth_type": "any", "auth_file": str(folder / "users")},
            **{"pool_mode": "transaction", "default_pool_size": str(sessions)},
            **(settings or {}),
        }
        lines = [f"{key} = {value}" for key, value in given.items()]
        database = f"* = user=tester host={url.query['host']}"
        file.write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
        as_root = os.geteuid() == 0
        if as_root:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "postgres")
        process = subprocess.Popen(
            [program, "-q", file],
            user="postgres" if as_root else None,
            extra_groups=[] if as_root else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 10
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield port
        finally:
            process.kill()
            process.wait()
