"""
A TCP proxy to stand before a real server, and fail as networks and servers do.

    with Proxy(("127.0.0.1", 5432)) as proxy:
        connect(host=proxy.host, port=proxy.port)
        proxy.stall()           # accepts and takes, gives nothing: a frozen server
        proxy.refuse()          # closes all, and takes no more: a server that is down
        proxy.flow()            # as if nothing had been; what was stalled goes on
        proxy.cut()             # closes all connections there are, once
        proxy.lose_reply()      # forwards the next request, and hangs up at its reply
        proxy.delay = 0.2       # seconds that each reply is late
        proxy.requests          # how often anything was sent to the server
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from types import TracebackType


class Proxy:
    """Forward what comes to ``host:port`` to *target*, if it is to flow."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._listener: socket.socket | None = None
        self.losing = False
        self.delay = 0.0
        self.requests = 0
        self.host, self.port = "127.0.0.1", 0
        self._listen()

    # --- what can go wrong

    def flow(self) -> None:
        """Forward, now and in future."""
        self._flowing.set()
        if self._listener is None:
            self._listen()

    def stall(self) -> None:
        """Forward nothing; connections are accepted nevertheless."""
        self._flowing.clear()

    def refuse(self) -> None:
        """Close all connections, and accept none."""
        listener, self._listener = self._listener, None
        if listener:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            listener.close()
        self.cut()

    def cut(self) -> None:
        """Close all connections there are."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def lose_reply(self) -> None:
        """Forward the next request, and close its connection when the reply comes."""
        self.losing = True

    @property
    def connections(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._links)

    # ---

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.refuse()
        self._flowing.set()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._target, timeout=10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                link = _Link(client, server)
                with self._lock:
                    self._links.add(link)
                if self._listener is not listener:
                    link.close()  # refuse() was called meanwhile
                for pump in (self._forward, self._back):
                    threading.Thread(target=pump, args=(link,), daemon=True).start()

    def _forward(self, link: _Link) -> None:
        for data in link.read(link.client):
            self._flowing.wait()
            if self.losing:
                self.losing, link.losing = False, True
            self.requests += 1
            link.write(link.server, data)
        self._forget(link)

    def _back(self, link: _Link) -> None:
        for data in link.read(link.server):
            self._flowing.wait()
            if self.delay:
                time.sleep(self.delay)
            if link.losing:
                break
            link.write(link.client, data)
        self._forget(link)

    def _forget(self, link: _Link) -> None:
        link.close()
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection, with both its ends."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.losing = False

    def read(self, end: socket.socket):  # type: ignore[no-untyped-def]
        with suppress(OSError):
            while data := end.recv(65_536):
                yield data

    def write(self, end: socket.socket, data: bytes) -> None:
        with suppress(OSError):
            end.sendall(data)

    def close(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
