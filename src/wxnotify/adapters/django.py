"""
Django: a view for ``urls.py``, blocking or for an event loop.

Reads the raw body under the limit, calls the receiver, sends its reply. The
views are exempt from what a server that is no browser cannot satisfy, and from
what would undo a claim: CSRF, a login that every view requires, ATOMIC_REQUESTS.
Decorators that keep a view's attributes, as ``functools.wraps`` does, keep that.

Under ASGI, Django reads every body to its end before it calls a view: limit it in
the server or the proxy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from .._receiver import Receiver
from .._reply import Reply
from .._request import BODY_SECONDS, check_request, check_size
from ..errors import BodyTimeout, IncompleteBody, NotifyError

try:
    from django.db import connections, transaction
    from django.http import HttpResponse
except ModuleNotFoundError as error:
    raise ImportError('this needs Django: pip install "wxpay-notify[django]"') from error

__all__ = ["async_notify_view", "notify_view"]

_View = TypeVar("_View", bound=Callable[..., object])

_CHUNK: Final = 16_384


def notify_view(receiver: Receiver, *, body_seconds: float = BODY_SECONDS) -> Callable[..., HttpResponse]:
    """
    Make a view that answers WeChat Pay's notifications.

    Under ASGI too, where Django runs it in a thread.

    Args:
        receiver: What settles them. Its ``max_bytes`` limits the body.

        body_seconds: Refuse a body that takes longer to arrive. Looked at
            between two reads; a read that blocks is the server's to end.

    Returns:
        The view; for ``path("wechat/notify", notify_view(receiver))``.
    """

    def notify(request: Any, *arguments: object, **named: object) -> HttpResponse:
        started = receiver.now()
        try:
            body = _read(request, receiver, started + body_seconds)
            reply = receiver.receive(body, request.META, started=started)
        except NotifyError as error:
            reply = receiver.refuse(error, started=started, headers=request.META)
        return _response(reply)

    return _exempt(notify, receiver)


def async_notify_view(
    receiver: Receiver, *, body_seconds: float = BODY_SECONDS
) -> Callable[..., Awaitable[HttpResponse]]:
    """
    Make a view that answers on the event loop: for coroutine functions, and to wait without a thread.

    Args:
        receiver: As for :func:`notify_view`. What of it blocks, as a
            ``DjangoStore`` does, runs in its worker threads.

        body_seconds: As for :func:`notify_view`.

    Returns:
        The view, a coroutine function.
    """

    async def notify(request: Any, *arguments: object, **named: object) -> HttpResponse:
        started = receiver.now()
        try:
            body = _read(request, receiver, started + body_seconds)
            reply = await receiver.receive_async(body, request.META, started=started)
        except NotifyError as error:
            reply = receiver.refuse(error, started=started, headers=request.META)
        return _response(reply)

    return _exempt(notify, receiver)


def _exempt(view: _View, receiver: Receiver) -> _View:
    marked: Any = view
    # As attributes, because the decorators of Django 4.2 make no coroutine functions.
    marked.csrf_exempt = True
    marked.login_required = False
    for alias in connections:
        transaction.non_atomic_requests(using=alias)(view)
    #: What the system checks find the view and its store by.
    marked.wxnotify_receiver = receiver
    return view


def _read(request: Any, receiver: Receiver, deadline: float) -> bytes:
    meta, limit = request.META, receiver.max_bytes
    # Django makes upper case of the method.
    method = request.scope["method"] if hasattr(request, "scope") else meta["REQUEST_METHOD"]
    length = check_request(method, meta.get("HTTP_CONTENT_ENCODING"), meta.get("CONTENT_LENGTH"), limit)
    stream = request
    if length is None and hasattr(request, "environ") and "HTTP_TRANSFER_ENCODING" in meta:
        # Django gives an empty body instead, from whatever server.
        if not meta.get("wsgi.input_terminated"):
            raise IncompleteBody("a chunked body, and the server does not say where it ends")
        stream = meta["wsgi.input"]
    # One byte over the limit is enough to know.
    left = limit + 1 if length is None else length
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
        if receiver.now() > deadline:
            raise BodyTimeout("the body took too long to arrive")
    body = b"".join(pieces)
    check_size(len(body), limit)
    if length is not None and left:
        raise IncompleteBody(f"body is {len(body)} bytes, Content-Length says {length}")
    return body


def _response(reply: Reply) -> HttpResponse:
    response = HttpResponse(reply.body, status=reply.status)
    del response["Content-Type"]  # the default, which not every reply has
    for name, value in reply.headers:
        response[name] = value
    return response
