"""
The connections of the Redis stores: how they open, end at a deadline, and are used again.

They are made by redis-py as the caller's client makes them, but they are not the
client's: that may wait without end, retry by itself, or be in the middle of
something. The rules, each with what happens otherwise:

- All that an operation waits for ends at one deadline. A timeout for each read
  adds up: to connect alone takes several.
- A connection on which anything went wrong is closed, and so are the idle ones
  to the same server. A reply that comes late would be read as the next one's.
- None crosses a fork or an event loop: two would read each other's replies.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from functools import cache
from time import monotonic
from typing import Any, Final

from ._redis_protocol import Incomplete, Node, Refusal, pack, read
from ._redis_servers import Servers

#: Idle connections kept to each server; more than these are closed after use.
_IDLE_KEPT: Final = 16
#: Connections an event loop has in use at once. Threads are few; tasks may be thousands.
_IN_USE: Final = 32
_INFO: Final = pack(b"INFO", b"memory")
_READ_BYTES: Final = 65_536
# What redis-py calls on a socket while it connects.
_WAITING: Final = {"recv", "recv_into", "sendall"}
# Seconds that one read waits before it looks at the clock again; as the kernel wants it, too.
_TICK: Final = 0.05
_TIMEVAL: Final = struct.pack("ll", 0, 50_000)
# After these the connection is as good as before.
_HARMLESS: Final = {"ASK", "MOVED", "NOSCRIPT"}


class _Socket:
    """A connected socket on which whatever waits ends at the deadline."""

    def __init__(self, connected: Any, until: float) -> None:
        self._connected = connected
        #: On the monotonic clock.
        self.until = until

    def __getattr__(self, name: str) -> Any:
        if name in _WAITING:
            self._connected.settimeout(_left(self.until))
        return getattr(self._connected, name)

    def wait_in_ticks(self) -> None:
        """Let each read wait a tick at most from now on."""
        if type(self._connected).__module__ == "socket" and os.name == "posix":
            # The kernel ends the wait. Python's own timeouts cost two more system calls
            # for each of ours; but TLS, gevent and the like know no others.
            self._connected.settimeout(None)
            self._connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL)
        else:
            self._connected.settimeout(_TICK)

    def exchange(self, packed: bytes, replies: int) -> Any:
        """Send commands and read the replies."""
        if replies == 1:
            self._connected.sendall(packed)  # goes into the system's buffer at once
        else:
            self.sendall(packed)  # may take its time
            self.wait_in_ticks()
        data = b""
        while True:
            if monotonic() + _TICK > self.until:
                raise TimeoutError("the deadline has passed")
            try:
                data += _not_empty(self._connected.recv(_READ_BYTES))
                return read(data, replies)
            except (TimeoutError, BlockingIOError, Incomplete):
                continue


def _left(until: float) -> float:
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


@cache
def _bounded(connection_class: Any) -> Any:
    """Derive a connection class that connects by ``until``, over a socket that keeps it."""

    def connect(self: Any) -> _Socket:
        self.bounded = _Socket(connection_class._connect(self), self.until)
        bounded: _Socket = self.bounded
        return bounded

    def ignored(self: Any, value: object) -> None:
        pass

    # redis-py asks for it once for each address that a host name stands for.
    time_to_connect = property(lambda self: _left(self.until), ignored)
    return type(
        "Bounded", (connection_class,), {"_connect": connect, "socket_connect_timeout": time_to_connect}
    )


class Connections:
    """
    Connections for threads.

    Args:
        servers: Where to.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._pid = os.getpid()
        self._idle: dict[Node, list[Any]] = {}

    def exchange(self, node: Node, packed: bytes, replies: int, until: float) -> Any:
        """
        Send commands and read the replies.

        Args:
            node: To which server.

            packed: The commands.

            replies: How many there will be.

            until: When to give up, on the monotonic clock.

        Returns:
            The reply, or the list of them; a refusal that spoils nothing stands in
            its place.

        Raises:
            Refusal: If the server refuses.

            RedisError: If it cannot be connected to.

            OSError: If the connection failed.
        """
        if self._pid != os.getpid():
            # A child drops its copies, which closes them here and not for the parent.
            self._idle, self._pid = {}, os.getpid()
        idle = self._idle.setdefault(node, [])
        connection = _pop(idle)
        try:
            if connection is None:
                connection_class, settings = self._servers.endpoint(node)
                connection = _bounded(connection_class)(**settings)
                connection.until = until
                connection.connect()
                connection.bounded.wait_in_ticks()
            bounded = connection.bounded
            bounded.until = until
            if node not in self._servers.checked:
                self._servers.check(node, bounded.exchange(_INFO, 1))
            answer = _harmless(bounded.exchange(packed, replies))
        except BaseException:
            _close(connection, idle)
            raise
        if len(idle) < _IDLE_KEPT:
            idle.append(connection)
        else:
            connection.disconnect()
        return answer

    def close(self) -> None:
        """Close the idle connections of this process."""
        if self._pid == os.getpid():
            for idle in list(self._idle.values()):
                _close(_pop(idle), idle)


def _not_empty(data: bytes) -> bytes:
    if not data:
        raise ConnectionError("the Redis server closed the connection")
    return data


def _harmless(answer: Any) -> Any:
    if isinstance(answer, Refusal) and answer.code not in _HARMLESS:
        raise answer
    return answer


def _pop(idle: list[Any]) -> Any:
    try:
        return idle.pop()
    except IndexError:
        return None


def _close(connection: Any, idle: list[Any]) -> None:
    while connection is not None:
        connection.disconnect()
        connection = _pop(idle)


class _Loop:
    """The connections of one event loop."""

    def __init__(self) -> None:
        self.idle: dict[Node, list[Any]] = {}
        self.turns = asyncio.Semaphore(_IN_USE)


class AsyncConnections:
    """
    Connections for event loops.

    Args:
        servers: Where to.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}

    async def exchange(self, node: Node, packed: bytes, replies: int, until: float) -> Any:
        """Send commands and read the replies: see :meth:`Connections.exchange`."""
        try:
            return await asyncio.wait_for(self._exchange(node, packed, replies), until - monotonic())
        except asyncio.TimeoutError:  # before Python 3.11 another one than TimeoutError
            raise TimeoutError("the deadline has passed") from None

    async def _exchange(self, node: Node, packed: bytes, replies: int) -> Any:
        loop = self._loops.get(asyncio.get_running_loop()) or self._begin()
        idle = loop.idle.setdefault(node, [])
        async with loop.turns:
            connection = _pop(idle)
            try:
                if connection is None:
                    connection_class, settings = self._servers.endpoint(node)
                    connection = connection_class(**settings)
                    await connection.connect()
                if node not in self._servers.checked:
                    self._servers.check(node, await _exchange_async(connection, _INFO, 1))
                answer = _harmless(await _exchange_async(connection, packed, replies))
            except BaseException:
                # A call that was cancelled too: its reply is still to come.
                await _close_async(connection, idle)
                raise
            idle.append(connection)
            return answer

    def _begin(self) -> _Loop:
        for loop in list(self._loops):
            if loop.is_closed():
                # Nothing can be done any more about the connections it left open.
                self._loops.pop(loop, None)
        return self._loops.setdefault(asyncio.get_running_loop(), _Loop())

    async def close(self) -> None:
        """Close the idle connections of this event loop."""
        loop = self._loops.pop(asyncio.get_running_loop(), None)
        for idle in loop.idle.values() if loop else ():
            await _close_async(_pop(idle), idle)


async def _exchange_async(connection: Any, packed: bytes, replies: int) -> Any:
    connection._writer.write(packed)
    data = b""
    while True:
        data += _not_empty(await connection._reader.read(_READ_BYTES))
        try:
            return read(data, replies)
        except Incomplete:
            continue


async def _close_async(connection: Any, idle: list[Any]) -> None:
    while connection is not None:
        if connection._writer is not None:
            # TLS would take leave first, for up to 30 s if the other side is frozen.
            connection._writer.transport.abort()
        await connection.disconnect(nowait=True)
        connection = _pop(idle)
