"""One request, made of a body in pieces, for WSGI and for ASGI."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from wsgiref.validate import validator

from wxnotify import Reply
from wxnotify.adapters.asgi import ASGIApp
from wxnotify.adapters.wsgi import WSGIApp
from wxnotify.testing import notification

PAID = notification()
#: In place of a piece: the client hangs up, or says nothing more for longer than is allowed.
GONE = object()
SLOW = object()
Piece = Any


class Request(NamedTuple):
    """What a client sends. *length* is the Content-Length header; None: none, as with a chunked body."""

    pieces: tuple[Piece, ...] = (PAID,)
    length: str | None = str(len(PAID))
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = (("content-type", "text/xml"),)
    #: Whether wsgiref.validate has no objection to the request or its answer.
    valid_wsgi: bool = True


class Stream:
    """``wsgi.input`` of a server that gives at most one piece a read. Counts what was read."""

    def __init__(self, pieces: Iterable[Piece], wait: Callable[[], object] = lambda: None) -> None:
        self._pieces = list(pieces)
        self._wait = wait
        self.asked: list[int] = []
        self.given = 0

    def read(self, size: int) -> bytes:
        assert size >= 0, "reading without a limit"
        self.asked.append(size)
        while self._pieces:
            piece = self._pieces[0]
            if piece is GONE:
                raise ConnectionResetError
            if piece is SLOW:
                self._pieces.pop(0)
                self._wait()
                continue
            given, rest = piece[:size], piece[size:]
            self._pieces[:1] = [rest] if rest else []
            self.given += len(given)
            return given
        return b""

    # wsgiref.validate wants them to be there
    readline = readlines = __iter__ = None


def environ_of(request: Request, stream: Any, **more: Any) -> dict[str, Any]:
    """Give the environment a server would."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": "/notify",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": stream,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers:
        name = name.upper().replace("-", "_")
        environ[name if name == "CONTENT_TYPE" else f"HTTP_{name}"] = value
    if request.length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        environ["wsgi.input_terminated"] = True
    else:
        environ["CONTENT_LENGTH"] = request.length
    return {**environ, **more}


def over_wsgi(app: WSGIApp, request: Request, stream: Any = None, **more: Any) -> Reply:
    """Send *request* through WSGI."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((status, headers))
        return lambda data: None

    stream = Stream(request.pieces) if stream is None else stream
    checked: Any = validator(app) if request.valid_wsgi else app
    answer = checked(environ_of(request, stream, **more), start_response)
    body = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    ((status, headers),) = started
    return Reply(int(status.split()[0]), tuple((name.lower(), value) for name, value in headers), body)


class Client:
    """``receive`` and ``send`` of an ASGI server."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = list(pieces)
        self.received = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        if not self._pieces:
            return {"type": "http.request", "body": b"", "more_body": False}
        piece = self._pieces.pop(0)
        if piece is GONE:
            return {"type": "http.disconnect"}
        if piece is SLOW:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)


def scope_of(request: Request) -> dict[str, Any]:
    """Give the scope a server would."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers]
    if request.length is None:
        headers.append((b"transfer-encoding", b"chunked"))
    else:
        headers.append((b"content-length", request.length.encode("latin-1")))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": "/notify",
        "raw_path": b"/notify",
        "query_string": b"",
        "headers": headers,
    }


def over_asgi(app: ASGIApp, request: Request, client: Client | None = None) -> Reply:
    """Send *request* through ASGI."""
    client = Client(request.pieces) if client is None else client
    asyncio.run(app(scope_of(request), client.receive, client.send))
    start, body = client.sent
    assert (start["type"], body["type"]) == ("http.response.start", "http.response.body")
    assert not body.get("more_body")
    headers = tuple((name.decode(), value.decode()) for name, value in start["headers"])
    return Reply(start["status"], headers, body["body"])
