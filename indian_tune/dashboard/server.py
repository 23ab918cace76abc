"""Serves the dashboard: one thread per request, bound to one address."""

from __future__ import annotations

import logging
import socket
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna_dashboard import wsgi

from indian_tune.dashboard.guard import (
    LOOPBACK_HOSTS,
    only_for,
    read_only,
    without_writing_controls,
)
from indian_tune.dashboard.storage import DashboardStorage, short_of_outages
from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection

    from indian_tune.ledger import LedgerReader

logger = logging.getLogger(__name__)

# Where Optuna Dashboard says why a request failed.
REQUEST_LOG = logging.getLogger("optuna_dashboard._bottle_util")
LOCAL_HOST = "127.0.0.1"
DEFAULT_PORT = 8080


class _Server(ThreadingMixIn, WSGIServer):
    # A page that is still loading must not keep the program alive.
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        logger.info(format, *args)


class DashboardServer:
    """Optuna Dashboard on a database, bound and ready to serve. A context manager.

    Args:
        ledger: of the database; stays open as long as the server.
        study: show this study alone; ``None`` for all.
        host: address to bind to. On a loopback address only requests meant for this machine are
            answered.
        allowed_hosts: names under which it is reached; requests meant for another are refused.
            Empty: this machine's own on a loopback address, any on another.
        port: to listen on; 0 for any that is free.
        allow_writes: whether notes may be edited and studies deleted.

    Raises:
        InputError: the study does not exist, or the address cannot be bound.
        StorageError: Optuna cannot use the database.
    """

    def __init__(
        self,
        ledger: LedgerReader,
        study: str | None = None,
        *,
        host: str = LOCAL_HOST,
        port: int = DEFAULT_PORT,
        allowed_hosts: Collection[str] = (),
        allow_writes: bool = False,
    ) -> None:
        if study is not None:
            ledger.study(study)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = DashboardStorage(ledger, study, writable=allow_writes)
        # Finished trials never change, so Optuna's cache reads each of them once.
        app = wsgi(optuna.storages.get_storage(self._storage))
        if not allow_writes:
            app = without_writing_controls(read_only(app))
        if allowed_hosts:
            app = only_for(app, {name.lower() for name in allowed_hosts})
        elif is_local(host):
            app = only_for(app, LOOPBACK_HOSTS | {host})
        try:
            self._server = make_server(
                host, port, app, _Server6 if ":" in host else _Server, _Handler
            )
        except (OSError, OverflowError) as error:
            self._storage.close()
            raise InputError(
                f"--host {host} --port {port} cannot be used ({error}): choose another port, or 0 "
                "for any free one"
            ) from error
        self._filter = short_of_outages(ledger.url)
        REQUEST_LOG.addFilter(self._filter)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{self._server.server_port}/dashboard"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        REQUEST_LOG.removeFilter(self._filter)
        self._server.server_close()
        self._storage.close()

    def serve(self) -> None:
        """Answer requests until ``stop`` is called from another thread, or Ctrl-C."""
        self._server.serve_forever()

    def stop(self) -> None:
        """Make ``serve`` return."""
        self._server.shutdown()


def is_local(host: str) -> bool:
    """Whether only this machine can reach what listens on an address."""
    return host in LOOPBACK_HOSTS or host.startswith("127.")
