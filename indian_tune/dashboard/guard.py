"""Guards requests to Optuna Dashboard, which has no login and can delete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def read_only(app: WSGIApplication) -> WSGIApplication:
    """Return the application with every request that could write refused (403)."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in SAFE_METHODS:
            return app(environ, start_response)
        return _refuse(
            start_response,
            "this dashboard only shows: start it with `indian-tune dashboard --allow-writes` to "
            "change studies",
        )

    return guarded


def only_for(app: WSGIApplication, hosts: Collection[str]) -> WSGIApplication:
    """Return the application with requests refused (403) that were addressed to another host.

    A web page elsewhere can make its own name point to this machine (DNS rebinding), and would
    then read what is meant for local eyes; its requests carry that name.

    Args:
        app: to guard.
        hosts: names and addresses allowed in the header ``Host``, without a port.
    """

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if host_name(environ.get("HTTP_HOST", "")) in hosts:
            return app(environ, start_response)
        return _refuse(start_response, f"this dashboard answers to {', '.join(sorted(hosts))} only")

    return guarded


def host_name(header: str) -> str:
    """Return the host of a ``Host`` header, without its port and the brackets of IPv6."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _refuse(start_response: StartResponse, reason: str) -> Iterable[bytes]:
    body = json.dumps({"reason": reason}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("403 Forbidden", headers)
    return [body]
