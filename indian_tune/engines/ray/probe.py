"""Reports the resources of a Ray cluster, as a separate program that can be killed.

Where a cluster's server is bound to another interface, hangs or asks for another token, Ray tries
for minutes, deaf to Ctrl-C. Argument: the address. Prints a line of JSON: ``resources`` and
``hosts``, or ``error`` in words.
"""

from __future__ import annotations

import json
import logging
import socket
import sys

KNOCK_SECONDS = 10.0


def main(address: str) -> None:
    """Join, ask and leave."""
    import ray
    from ray._private.services import canonicalize_bootstrap_address_or_die

    try:
        if not address.startswith("ray://"):
            address = canonicalize_bootstrap_address_or_die(address)
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()
        except OSError as error:
            raise ConnectionError(f"nothing answers at {host}:{port} ({error})") from error
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        nodes = ray.nodes()  # type: ignore[no-untyped-call]
        answer: dict[str, object] = {
            "resources": ray.cluster_resources(),  # type: ignore[no-untyped-call]
            "hosts": sorted({each["NodeManagerHostname"] for each in nodes if each["Alive"]}),
        }
    except Exception as error:  # noqa: BLE001 - what Ray raises is passed on in words
        answer = {"error": str(error).strip()}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
