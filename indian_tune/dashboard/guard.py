"""Guards requests to Optuna Dashboard, which has no login and can delete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Controls of Optuna Dashboard's pages that send requests which are refused.
WRITING_CONTROLS = ("delete study", "rename study", "delete artifact", "skip trial")
# Buttons that carry a word and no label: known by their icon. This one creates a study.
WRITING_ICONS = ("AddBoxIcon",)
_STYLE = (
    "<style>"
    + ",".join(
        [
            *(f'[aria-label="{label}"]' for label in WRITING_CONTROLS),
            *(f'button:has([data-testid="{icon}"])' for icon in WRITING_ICONS),
        ]
    )
    + "{display:none!important}</style>"
).encode()
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


def read_only(app: WSGIApplication) -> WSGIApplication:
    """Return the application with every request that could write refused (403)."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in SAFE_METHODS:
            return app(environ, start_response)
        return _refuse(
            start_response,
            "this dashboard is read-only: start it with `indian-tune dashboard --allow-writes` "
            "to change studies",
        )

    return guarded


def without_writing_controls(app: WSGIApplication) -> WSGIApplication:
    """Return the application with the controls that write hidden on its pages.

    Only what people see changes: :func:`read_only` refuses the requests.
    """

    def hiding(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # A browser must not keep a page that was served without the style, or the other way round.
        environ.pop("HTTP_IF_MODIFIED_SINCE", None)
        environ.pop("HTTP_IF_NONE_MATCH", None)
        started: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            started[:] = [status, headers, *error]
            return lambda _: None

        body = app(environ, keep)
        status, headers, *error = started
        kinds = [value for name, value in headers if name.lower() == "content-type"]
        if environ["REQUEST_METHOD"] != "GET" or not kinds or not kinds[0].startswith("text/html"):
            start_response(status, headers, *error)
            return body
        try:
            page = b"".join(body).replace(b"</head>", _STYLE + b"</head>", 1)
        finally:
            if hasattr(body, "close"):
                body.close()
        replaced = {"content-length", "last-modified", "etag"}
        headers = [header for header in headers if header[0].lower() not in replaced]
        start_response(status, [*headers, ("Content-Length", str(len(page)))], *error)
        return [page]

    return hiding


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
        return _refuse(
            start_response, f"this dashboard only accepts requests for {', '.join(sorted(hosts))}"
        )

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
