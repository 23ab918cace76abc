"""A network between a client and a PostgreSQL server, that can fail."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from indian_tune.ledger import storage_url

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


class Relay:
    """A TCP port before a server's socket.

    Args:
        address: of a database whose server listens on a socket in a folder.

    Attributes:
        mute: while set, the kernel goes on acknowledging what is sent, and nothing is passed on.
        refuses: while set, new connections are closed at once.
    """

    def __init__(self, address: str) -> None:
        self.mute = threading.Event()
        self.refuses = threading.Event()
        self._target = f"{make_url(address).query['host']}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def through(self, address: str, **query: str) -> URL:
        """Return the address of a database of the server as it is reached by this port."""
        return storage_url(address).set(host="127.0.0.1", port=self.port, query=query)

    def cut(self) -> None:
        """Break every connection."""
        taken, self._open = self._open, []
        for each in taken:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    if self.refuses.is_set():
                        raise ConnectionRefusedError
                    server.connect(self._target)
                except OSError:
                    # A server that is down closes no port of ours.
                    client.close()
                    server.close()
                    continue
                self._open += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self.mute.is_set():
                    sink.sendall(data)
        # One side is gone: the other hears of it, as over a real network.
        if not self.mute.is_set():
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
