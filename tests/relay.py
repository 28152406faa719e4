"""A TCP relay in front of PostgreSQL that can cut the connections that go through it."""

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from sqlalchemy.engine import URL, make_url

# SO_LINGER with no time: closing sends a reset.
RESET = struct.pack("ii", 1, 0)


class Relay:
    """Relays connections to a server until they are cut off."""

    def __init__(self, server: URL) -> None:
        self._server = server
        self._generation = 0
        self._is_relaying = Event()
        self._is_relaying.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def cut_off(self) -> None:
        """Keep from the clients what the server sends; reset each as soon as it sends something.

        So a client cannot know beforehand that its connection is dead. New ones are relayed.
        """
        self._generation += 1

    def hold(self) -> None:
        """Accept new connections, but relay none of them before ``release``."""
        self._is_relaying.clear()

    def release(self) -> None:
        """Relay new connections again, and those that were held."""
        self._is_relaying.set()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._relay, args=(client, self._generation), daemon=True).start()

    def _relay(self, client: socket.socket, generation: int) -> None:
        self._is_relaying.wait()
        with client, self._connect() as server:
            other = {client: server, server: client}
            while True:
                readable, _, _ = select.select(list(other), [], [])
                if self._generation != generation:
                    if client in readable:
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                        return
                    del other[server]
                    continue
                for source in readable:
                    data = source.recv(65_536)
                    if not data:
                        return
                    other[source].sendall(data)

    def _connect(self) -> socket.socket:
        directory = self._server.query.get("host")
        if isinstance(directory, str):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{directory}/.s.PGSQL.{self._server.port or 5432}")
            return server
        return socket.create_connection(
            (self._server.host or "localhost", self._server.port or 5432)
        )


@contextmanager
def relayed(uri: str) -> Iterator[tuple[str, Relay]]:
    """Give the URI of a database by way of a relay, and the relay."""
    url = make_url(uri)
    relay = Relay(url)
    query = {name: value for name, value in url.query.items() if name != "host"}
    try:
        by_relay = url.set(host="127.0.0.1", port=relay.port, query=query)
        yield by_relay.render_as_string(hide_password=False), relay
    finally:
        relay.close()
