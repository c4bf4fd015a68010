"""One address serves both dialects, through every adapter and every recipe of the README, on real servers."""

from __future__ import annotations

import re
import socket
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from wxnotify import Event, Receiver, Reply, build_reply
from wxnotify.testing import notification
from wxnotify.testing.apiv3 import Posted, apiv3, payment_event, signed

from ..adapters.serving import served_by_uvicorn, served_by_wsgiref
from ..receiving import ORDER, SUCCESS, Shop
from ..receiving_kinds import both
from .posting import NOW, with_headers

README = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")

PAID = payment_event(now=NOW)
PAID_IN_APIV2 = Posted({"Content-Type": "text/xml"}, notification())
UNSIGNED = Posted({"Content-Type": "application/json"}, PAID.body)
PROBE = with_headers(PAID, Signature="WECHATPAY/SIGNTEST/abc")
LIMIT = 2000
#: Nothing but its headers says in which dialect it is.
TOO_LONG = signed(b" " * (LIMIT + 1), now=NOW)
SUCCESS_JSON = build_reply(dialect="APIv3")

Serving = AbstractContextManager[int]


def recipe(name: str, receiver: Receiver) -> Any:
    """Give the application that a file of the README makes, next to a ``shop.py`` with this receiver."""
    source = re.search(rf"```python\n(# {name}\.py\n.*?)```", README, re.DOTALL)
    assert source
    shop, module = types.ModuleType("shop"), types.ModuleType(name)
    shop.__dict__["receiver"] = receiver
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "shop", shop)
        exec(compile(source[1], f"{name}.py", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__["app"]


def wsgi(name: str, receiver: Receiver) -> Serving:
    return served_by_wsgiref(recipe(name, receiver))


def asgi(name: str, receiver: Receiver) -> Serving:
    return served_by_uvicorn(recipe(name, receiver))


@contextmanager
def django(view: str, handler: str, receiver: Receiver) -> Iterator[int]:
    from ..adapters import test_django as here  # skips the test where there is no Django

    app = getattr(here, handler)()
    serving = served_by_wsgiref(app) if handler == "WSGIHandler" else served_by_uvicorn(app, lifespan="off")
    with here.urls(getattr(here, view)(receiver)), serving as port:
        yield port


WAYS: dict[str, Callable[[Receiver], Serving]] = {
    "WSGIApp": partial(wsgi, "wsgi"),
    "ASGIApp": partial(asgi, "asgi"),
    "Flask view": partial(wsgi, "flask_app"),
    "FastAPI route": partial(asgi, "fastapi_app"),
    "Django view under WSGI": partial(django, "notify_view", "WSGIHandler"),
    "Django view under ASGI": partial(django, "notify_view", "ASGIHandler"),
    "Django async view under WSGI": partial(django, "async_notify_view", "WSGIHandler"),
    "Django async view under ASGI": partial(django, "async_notify_view", "ASGIHandler"),
}


class Address(Shop):
    """A merchant of both dialects at ``/notify`` of a real server."""

    port = 0

    def __init__(self) -> None:
        super().__init__(merchants=both(dialect=apiv3()), wall_clock=lambda: NOW, max_bytes=LIMIT)

    def post(self, posted: Posted) -> tuple[Reply, Event]:
        """Send it; what was answered, of the headers the content type alone, and what was reported."""
        headers = {
            "Host": "127.0.0.1",
            "Connection": "close",
            "Content-Length": str(len(posted.body)),
            **posted.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        before = len(self.events)
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            # At once: what came after the server has refused and closed would reset the connection.
            connection.sendall(f"POST /notify HTTP/1.1\r\n{head}\r\n".encode() + posted.body)
            with HTTPResponse(connection, method="POST") as response:
                response.begin()
                content_type = response.getheader("Content-Type") or ""
                reply = Reply(response.status, (("Content-Type", content_type),), response.read())
        (event,) = self.events[before:]
        return reply, event

    def refused(self, posted: Posted) -> tuple[str, int]:
        """Send what must be refused in the words of APIv3; the code and the status."""
        reply, event = self.post(posted)
        assert reply == typed(build_reply("FAIL", event.code, status=event.status, dialect="APIv3"))
        assert event.dialect == "APIv3"
        assert self.handled == []
        return event.code, reply.status


def typed(reply: Reply) -> Reply:
    """Leave of the headers the content type alone: servers and frameworks add theirs."""
    return Reply(reply.status, reply.headers[:1], reply.body)


@pytest.fixture(params=WAYS)
def address(request: pytest.FixtureRequest) -> Iterator[Address]:
    address = Address()
    with WAYS[request.param](address.receiver) as address.port:
        yield address


def test_a_payment_told_in_apiv3_and_then_in_apiv2_is_handled_once_and_each_answered_in_its_own(
    address: Address,
) -> None:
    for posted, success, told in (
        (PAID, SUCCESS_JSON, ("handled", "APIv3")),
        (PAID_IN_APIV2, SUCCESS, ("duplicate", "APIv2")),
        (PAID, SUCCESS_JSON, ("duplicate", "APIv3")),
    ):
        reply, event = address.post(posted)
        assert (reply, (event.code, event.dialect)) == (typed(success), told)
    assert [payment.out_trade_no for payment in address.handled] == [ORDER]


def test_apiv3_without_the_headers_that_sign_it_is_refused_in_its_own_words(address: Address) -> None:
    assert address.refused(UNSIGNED) == ("missing_signature", 401)


def test_a_probe_is_refused_as_one_and_the_genuine_one_that_follows_is_handled(address: Address) -> None:
    assert address.refused(PROBE) == ("signature_probe", 401)
    assert address.post(PAID)[1].code == "handled"


def test_a_body_over_the_limit_is_refused_in_the_words_of_the_dialect_its_headers_name(
    address: Address,
) -> None:
    assert address.refused(TOO_LONG) == ("too_large", 413)
    reply, event = address.post(Posted(PAID_IN_APIV2.headers, TOO_LONG.body))
    assert (reply, event.dialect) == (typed(build_reply("FAIL", "too_large", status=413)), "APIv2")
