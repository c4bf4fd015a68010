"""
ASGI: FastAPI, Starlette, Litestar, Django under ASGI, any server on asyncio.

Reads the raw body under the limit while it streams, awaits the receiver, sends
its reply. An instance is an ASGI application; give Starlette and FastAPI the
instance as a route's endpoint, not as a mount: a mount redirects
``/notify`` to ``/notify/``, and WeChat Pay does not follow.

Source: ASGI specification 3.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .._receiver import Receiver
from .._request import BODY_SECONDS, check_request, check_size
from ..errors import BodyTimeout, IncompleteBody, NotifyError

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class ASGIApp:
    """
    An ASGI application that answers WeChat Pay's notifications.

    Blocking stores and handlers run in worker threads, each delivery whole in one.

    Args:
        receiver: What settles them. Its ``max_bytes`` limits the body.

        body_seconds: Refuse a body that takes longer to arrive.

    Example:
        >>> from wxnotify.adapters.asgi import ASGIApp
        >>> app = ASGIApp(receiver)  # doctest: +SKIP
    """

    def __init__(self, receiver: Receiver, *, body_seconds: float = BODY_SECONDS) -> None:
        self._receiver = receiver
        self._max_bytes = receiver.max_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        started = self._receiver.now()
        headers = list(scope["headers"])  # it need not be more than an iterable
        try:
            body = await self._read(scope, headers, receive)
        except NotifyError as error:
            reply = self._receiver.refuse(error, started=started, headers=headers)
        else:
            reply = await self._receiver.receive_async(body, headers, started=started)
        answered = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in reply.headers]
        try:
            await send({"type": "http.response.start", "status": reply.status, "headers": answered})
            await send({"type": "http.response.body", "body": reply.body})
        except OSError:
            pass  # the client has gone; it will send again, and find what was settled

    async def _read(self, scope: _Message, headers: list[tuple[bytes, bytes]], receive: _Receive) -> bytes:
        length = check_request(
            scope["method"],
            _header(headers, b"content-encoding"),
            _header(headers, b"content-length"),
            self._max_bytes,
        )
        try:
            body = await asyncio.wait_for(self._collect(receive), self._body_seconds)
        except asyncio.TimeoutError:
            raise BodyTimeout(f"the body took over {self._body_seconds} s to arrive") from None
        if length is not None and len(body) != length:
            raise IncompleteBody(f"body is {len(body)} bytes, Content-Length says {length}")
        return body

    async def _collect(self, receive: _Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise IncompleteBody("the client went away while the body was read")
            body += message.get("body") or b""
            check_size(len(body), self._max_bytes)
            if not message.get("more_body", False):
                return bytes(body)


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    values = [value for header, value in headers if header.lower() == name]
    # Two of one name are joined, as HTTP says, and then are neither a length nor an encoding.
    return b", ".join(values).decode("latin-1") if values else None


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
