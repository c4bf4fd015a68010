"""Something between the shop and its database server, that can stop answering."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """
    Forward connections to a server, for as long as it is told to.

    Args:
        target: The server's host and port.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        #: Where it listens.
        self.port: int = self._listening.getsockname()[1]
        self._asking = threading.Event()
        self._answering = threading.Event()
        self._refusing = False
        self._ends: list[socket.socket] = []
        self.thaw()
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Take what is sent, new connections too, and hand it on to nobody."""
        self._asking.clear()
        self._answering.clear()

    def mute(self) -> None:
        """Hand on what is sent, and keep the answers."""
        self._answering.clear()

    def thaw(self) -> None:
        """Let everything flow again."""
        self._refusing = False
        self._asking.set()
        self._answering.set()

    def cut(self) -> None:
        """Hang up on everybody, as a server that is restarted."""
        while self._ends:
            end = self._ends.pop()
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def refuse(self) -> None:
        """Hang up on everybody, and on whoever comes."""
        self._refusing = True
        self.cut()

    def close(self) -> None:
        self.thaw()
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._ends += [client, server]
            for ways in ((client, server, self._asking), (server, client, self._answering)):
                threading.Thread(target=self._pump, args=ways, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, flowing: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                flowing.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
