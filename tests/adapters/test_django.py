"""Django's views: the contract of an adapter, and what Django puts around a view."""

from __future__ import annotations

import asyncio
import logging
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from wxnotify import Reply, build_reply

from ..receiving import ORDER, SUCCESS, Shop
from .sending import GONE, PAID, SLOW, Client, Request, Stream, over_asgi, over_wsgi
from .test_contract import LIMIT, REQUESTS, expected_reply

pytest.importorskip("tests.django_shop.databases")  # sets Django up

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections, transaction
from django.http.request import RawPostDataException
from django.test import AsyncClient, override_settings
from django.test import Client as DjangoClient
from django.urls import path

from wxnotify.adapters.django import async_notify_view, notify_view

from ..django_shop.databases import need
from ..django_shop.models import Order


@contextmanager
def urls(view: Any, **settings: Any) -> Iterator[None]:
    """Let ``/notify`` lead to *view*."""
    module: Any = types.ModuleType("urls_of_a_test")
    module.urlpatterns = [path("notify", view)]
    with override_settings(ROOT_URLCONF=module, **settings):
        yield


class Waiting(Client):
    """A client that stays for the answer, as Django's ASGI handler expects of it."""

    _over = False

    async def receive(self) -> dict[str, Any]:
        if self._over:
            await asyncio.Event().wait()
        message = await super().receive()
        self._over = not message.get("more_body", False)
        return message


def wsgi(make: Callable[[Any], Any], shop: Shop, request: Request) -> Reply:
    stream = Stream(request.pieces, wait=lambda: shop.clock.sleep(6))
    with urls(make(shop.receiver), MIDDLEWARE=[]):
        return over_wsgi(WSGIHandler(), request, stream)  # type: ignore[arg-type]


def asgi(make: Callable[[Any], Any], shop: Shop, request: Request) -> Reply:
    with urls(make(shop.receiver), MIDDLEWARE=[]):
        reply = over_asgi(ASGIHandler(), request, Waiting(request.pieces))  # type: ignore[arg-type]
    # Django leaves the lower case to the server.
    headers = tuple((name.lower(), value) for name, value in reply.headers)
    return Reply(reply.status, headers, reply.body)


both_views = pytest.mark.parametrize("make", [notify_view, async_notify_view])
#: Django itself waits for these, before there is a request.
WAITED_FOR = [name for name, (request, _) in REQUESTS.items() if {GONE, SLOW} & set(request.pieces)]


@both_views
@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_has_the_reply_of_the_other_adapters_under_wsgi(make: Any, name: str) -> None:
    request, code = REQUESTS[name]
    shop = Shop()
    reply = wsgi(make, shop, request)
    assert [event.code for event in shop.events] == [code]
    assert reply == expected_reply(code, shop)
    assert len(shop.handled) == (code == "handled")


@both_views
@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in WAITED_FOR])
def test_every_request_has_the_reply_of_the_other_adapters_under_asgi(make: Any, name: str) -> None:
    request, code = REQUESTS[name]
    shop = Shop()
    reply = asgi(make, shop, request)
    assert [event.code for event in shop.events] == [code]
    assert reply == expected_reply(code, shop)
    assert len(shop.handled) == (code == "handled")


@both_views
@pytest.mark.parametrize("terminated", [False, None, 0])
def test_a_chunked_body_nobody_ends_is_refused_unread(make: Any, terminated: object) -> None:
    shop, stream = Shop(), Stream((PAID,))
    with urls(make(shop.receiver), MIDDLEWARE=[]):
        environ = {"wsgi.input_terminated": terminated}
        reply = over_wsgi(WSGIHandler(), Request((PAID,), None), stream, **environ)  # type: ignore[arg-type]
    assert reply.status == 400
    assert shop.events[0].code == "incomplete_body"
    assert stream.asked == []


@both_views
def test_what_turns_out_too_large_is_not_read_on(make: Any) -> None:
    request = Request((b" " * 1000,) * 1000, None)
    stream = Stream(request.pieces)
    with urls(make(Shop(max_bytes=5000).receiver), MIDDLEWARE=[]):
        over_wsgi(WSGIHandler(), request, stream)  # type: ignore[arg-type]
    assert stream.given == 5001


def test_no_read_asks_for_more_than_is_left() -> None:
    body = PAID + b" " * 40_000
    stream = Stream((body[:10], body[10:]))
    with urls(notify_view(Shop().receiver), MIDDLEWARE=[]):
        over_wsgi(WSGIHandler(), Request((body,), str(len(body))), stream)  # type: ignore[arg-type]
    assert max(stream.asked) <= 16_384
    assert len(body) < LIMIT


# --- with everything a project has around its views -------------------------------------


def post(body: bytes = PAID, content_type: str = "text/xml", **more: Any) -> Any:
    """Post to ``/notify`` as a server does that is no browser."""
    return DjangoClient(enforce_csrf_checks=True).post("/notify", body, content_type=content_type, **more)


def post_async(body: bytes = PAID) -> Any:
    client = AsyncClient(enforce_csrf_checks=True)
    return asyncio.run(client.post("/notify", body, content_type="text/xml"))


@both_views
@pytest.mark.parametrize("send", [post, post_async])
def test_csrf_and_the_other_middleware_let_notifications_through(make: Any, send: Any) -> None:
    shop = Shop()
    with urls(make(shop.receiver)):
        response = send()
    assert (response.status_code, response.content) == (200, SUCCESS.body)
    assert response["Content-Type"] == "text/xml; charset=utf-8"
    assert len(shop.handled) == 1


if django.VERSION >= (5, 1):

    @both_views
    def test_a_login_that_every_view_requires_lets_notifications_through(make: Any) -> None:
        login = "django.contrib.auth.middleware.LoginRequiredMiddleware"
        with urls(make(Shop().receiver), MIDDLEWARE=[*settings.MIDDLEWARE, login]):
            assert post().status_code == 200


def reading(get: Any) -> Any:
    """Middleware that looks for form data, and then at the body."""

    def middleware(request: Any) -> Any:
        assert dict(request.POST) is not None
        with suppress(RawPostDataException):
            assert request.body is not None
        return get(request)

    return middleware


@pytest.mark.parametrize("content_type", ["text/xml", "application/x-www-form-urlencoded", "text/plain"])
def test_middleware_that_reads_the_body_first_does_no_harm(content_type: str) -> None:
    shop = Shop()
    with urls(notify_view(shop.receiver), MIDDLEWARE=[f"{__name__}.reading"]):
        assert post(content_type=content_type).status_code == 200
    assert len(shop.handled) == 1


def test_a_body_that_a_form_parser_has_eaten_is_refused() -> None:
    shop = Shop()
    with urls(notify_view(shop.receiver), MIDDLEWARE=[f"{__name__}.reading"]):
        assert post(content_type="multipart/form-data; boundary=x").status_code == 400
    assert shop.events[0].code == "incomplete_body"


@both_views
def test_atomic_requests_wraps_nothing_around_it(make: Any) -> None:
    seen = []

    def look() -> None:
        seen.extend(connections[alias].in_atomic_block for alias in ("default", "other"))

    shop = Shop(during=look)
    with atomic_requests("default", "other"), urls(make(shop.receiver), MIDDLEWARE=[]):
        assert post().status_code == 200
    assert seen == [False, False]


@contextmanager
def atomic_requests(*aliases: str) -> Iterator[None]:
    for alias in aliases:
        connections.settings[alias]["ATOMIC_REQUESTS"] = True
    try:
        yield
    finally:
        for alias in aliases:
            connections.settings[alias]["ATOMIC_REQUESTS"] = False


@both_views
def test_no_traceback_goes_out_not_even_in_debug_mode(make: Any) -> None:
    shop = Shop(failing=[ValueError("the secret of the handler")])
    with urls(make(shop.receiver), DEBUG=True):
        response = post()
    assert (response.status_code, response.content) == (500, build_reply("FAIL", "handler_failed").body)


def test_an_asynchronous_receiver_in_a_blocking_view_is_told_fail_and_logged_why(caplog: Any) -> None:
    async def expect(payment: Any) -> None:
        raise AssertionError

    shop = Shop(expect=expect)
    with urls(notify_view(shop.receiver), DEBUG=True), caplog.at_level(logging.INFO, "wxnotify"):
        response = post()
    assert (response.status_code, response.content) == (500, build_reply("FAIL", "configuration").body)
    assert [event.code for event in shop.events] == ["configuration"]
    assert "receive_async" in shop.events[0].detail


def test_other_methods_are_405_and_never_redirected() -> None:
    with urls(notify_view(Shop().receiver)):
        for method in ("get", "put", "delete", "head"):
            response = getattr(DjangoClient(), method)("/notify")
            assert (response.status_code, response["Allow"]) == (405, "POST")


# --- with the store ------------------------------------------------------------------------


def order() -> Any:
    return Order.objects.using("default").get(number=ORDER)


@pytest.fixture
def shop_order() -> None:
    need("default")
    Order.objects.using("default").create(number=ORDER)


@pytest.mark.parametrize("address", ["/notify", "/notify-async"])
@pytest.mark.usefixtures("shop_order")
def test_a_payment_ships_its_order_once(address: str) -> None:
    client = DjangoClient(enforce_csrf_checks=True)
    with atomic_requests("default"):
        for _ in range(3):
            response = client.post(address, PAID, content_type="text/xml")
            assert (response.status_code, response.content) == (200, SUCCESS.body)
    assert order().shipped == 1


@pytest.mark.usefixtures("shop_order")
def test_a_view_in_a_transaction_is_told_fail_and_ships_nothing() -> None:
    from ..django_shop.payments import receiver

    def plain(request: Any) -> Any:
        return notify_view(receiver)(request)

    plain.csrf_exempt = True  # type: ignore[attr-defined]
    with atomic_requests("default"), urls(plain):
        assert post().status_code == 503
    with urls(transaction.atomic(notify_view(receiver))):
        assert post().status_code == 503
    assert order().shipped == 0
    with urls(notify_view(receiver)):
        assert post().status_code == 200
    assert order().shipped == 1
