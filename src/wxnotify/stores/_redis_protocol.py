"""
How Redis reads commands and writes replies: RESP, version 2.

redis-py makes the connections of the Redis stores, with all that TLS, passwords
and users want. What goes over them is packed and read here, because through
redis-py it costs more than the claim itself, and a refusal is told in other
classes by each version of it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

_Result = TypeVar("_Result")

#: Host and port of a server.
Node = tuple[str, int]


class Ask(NamedTuple):
    """Commands to send together, to one server."""

    #: As ``pack`` wrote them.
    packed: bytes
    #: The key they are about, which decides who of a cluster gets them.
    name: bytes = b""
    #: Who gets them, where it is not the key that decides.
    node: Node | None = None
    #: How many replies there are; more than one are answered as a list, errors among them.
    replies: int = 1


#: A verb, under way: it yields what to ask, and is sent the reply.
Steps = Generator[Ask, Any, _Result]


class Refusal(Exception):
    """What a server replied instead of a result."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        #: The first word, in capitals.
        self.code = text.partition(" ")[0]

    @property
    def redirection(self) -> tuple[int, str, int]:
        """The slot, the host and the port of MOVED and ASK."""
        _, slot, address = str(self).split()
        host, _, port = address.rpartition(":")
        return int(slot), host, int(port)


class Incomplete(Exception):
    """The replies have not come whole."""


class Garbled(ConnectionError):
    """What came is not what a Redis server sends."""


def pack(*words: bytes) -> bytes:
    """Write a command."""
    return b"*%d\r\n%b" % (len(words), pack_words(*words))


def pack_words(*words: bytes) -> bytes:
    """Write a part of a command."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def read(data: bytes, replies: int) -> Any:
    """
    Read replies.

    Args:
        data: All that came.

        replies: How many are due.

    Returns:
        The reply, or the list of them. A refusal stands in its place.

    Raises:
        Incomplete: If more must come.

        Garbled: If it is something else, or more than is due.
    """
    try:
        if replies == 1:
            answer, end = _read(data, 0)
        else:
            answer, end = _read_all(data, 0, replies)
    except ValueError:
        raise Garbled("this is no Redis server") from None
    if end != len(data):
        raise Garbled("the Redis server replied more than it was asked")
    return answer


def _read(data: bytes, start: int) -> tuple[Any, int]:
    end = data.find(b"\r\n", start)
    if end < 0:
        raise Incomplete
    kind, line, start = data[start : start + 1], data[start + 1 : end], end + 2
    if kind == b"+":
        return line, start
    if kind == b"-":
        return Refusal(line.decode(errors="replace")), start
    number = int(line)
    if kind == b":":
        return number, start
    if number < 0:
        return None, start
    if kind == b"*":
        return _read_all(data, start, number)
    if kind != b"$":
        raise ValueError
    end = start + number
    if len(data) < end + 2:
        raise Incomplete
    return data[start:end], end + 2


def _read_all(data: bytes, start: int, count: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    for _ in range(count):
        item, start = _read(data, start)
        items.append(item)
    return items, start
