"""
WSGI: Flask, Django, Bottle, Pyramid, any server.

Reads the raw body under the limit, calls the receiver, sends its reply. It
reads ``wsgi.input`` itself, so mount it where no form parser has been before.

Source: PEP 3333; ``wsgi.input_terminated`` is how servers say that they end a
chunked body themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http.client import responses
from typing import Any, Final

from .._receiver import Receiver
from .._request import BODY_SECONDS, check_request, check_size
from ..errors import BodyTimeout, IncompleteBody, NotifyError

_CHUNK: Final = 16_384


class WSGIApp:
    """
    A WSGI application that answers WeChat Pay's notifications.

    Args:
        receiver: What settles them. Its ``max_bytes`` limits the body.

        body_seconds: Refuse a body that takes longer to arrive. Looked at
            between two reads; a read that blocks is the server's to end.

    Example:
        >>> from wxnotify.adapters.wsgi import WSGIApp
        >>> app = WSGIApp(receiver)  # doctest: +SKIP
    """

    def __init__(self, receiver: Receiver, *, body_seconds: float = BODY_SECONDS) -> None:
        self._receiver = receiver
        self._max_bytes = receiver.max_bytes
        self._body_seconds = body_seconds

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer one request."""
        started = self._receiver.now()
        try:
            body = self._read(environ, started)
        except NotifyError as error:
            reply = self._receiver.refuse(error, started=started, headers=environ)
        else:
            reply = self._receiver.receive(body, environ, started=started)
        status = f"{reply.status} {responses.get(reply.status, 'Refused')}"
        start_response(status, list(reply.headers))
        return [reply.body]

    def _read(self, environ: dict[str, Any], started: float) -> bytes:
        length = check_request(
            environ["REQUEST_METHOD"],
            environ.get("HTTP_CONTENT_ENCODING"),
            environ.get("CONTENT_LENGTH"),
            self._max_bytes,
        )
        if length is None and not environ.get("wsgi.input_terminated"):
            if "HTTP_TRANSFER_ENCODING" in environ:
                raise IncompleteBody("a chunked body, and the server does not say where it ends")
            length = 0  # without a length there is no body, and reading on would hang
        # One byte over the limit is enough to know.
        left = self._max_bytes + 1 if length is None else length
        stream = environ["wsgi.input"]
        pieces: list[bytes] = []
        while left:
            try:
                piece = stream.read(min(left, _CHUNK))
            except Exception as error:  # servers raise what they like here
                raise IncompleteBody("the client went away while the body was read") from error
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
            if self._receiver.now() - started > self._body_seconds:
                raise BodyTimeout(f"the body took over {self._body_seconds} s to arrive")
        body = b"".join(pieces)
        check_size(len(body), self._max_bytes)
        if length is not None and left:
            raise IncompleteBody(f"body is {len(body)} bytes, Content-Length says {length}")
        return body
