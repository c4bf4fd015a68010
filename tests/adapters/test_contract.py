"""The contract of an adapter: one table of requests, the same reply from each, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wxnotify import Outcome, Reply, build_reply
from wxnotify._reply import fail_reply
from wxnotify.adapters.asgi import ASGIApp
from wxnotify.adapters.wsgi import WSGIApp
from wxnotify.errors import MethodNotAllowed
from wxnotify.testing import notification

from ..receiving import Shop
from .sending import GONE, PAID, SLOW, Client, Request, Stream, over_asgi, over_wsgi

LIMIT = 65_536
LENGTH = str(len(PAID))
FORGED = notification(key="another-test-key-0123456789abcde")
PADDED = PAID + b" " * (LIMIT - len(PAID))
BYTE_BY_BYTE = tuple(PAID[n : n + 1] for n in range(len(PAID)))
HOSTILE = (
    ("host", "evil.example\x7f"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "api.mch.weixin.qq.com"),
    ("x-http-method-override", "GET"),
    ("x-real-ip", "101.226.103.0"),
    ("wechatpay-signature", "WECHATPAY/SIGNTEST/abc"),
    ("expect", "x"),
    ("accept-encoding", "gzip"),
)

# (the request, the code of what came of it)
REQUESTS: dict[str, tuple[Request, str]] = {
    "good": (Request(), "handled"),
    "forged": (Request((FORGED,), str(len(FORGED))), "bad_signature"),
    "without a body": (Request((), "0"), "empty_body"),
    "empty length": (Request((), "", valid_wsgi=False), "empty_body"),
    "GET": (Request((), "0", "GET"), "method_not_allowed"),
    "GET with a body": (Request(method="GET"), "method_not_allowed"),
    "HEAD": (Request((), "0", "HEAD"), "method_not_allowed"),
    "PUT": (Request(method="PUT"), "method_not_allowed"),
    "post": (Request(method="post", valid_wsgi=False), "method_not_allowed"),
    "gzip": (Request(headers=(("content-encoding", "gzip"),)), "content_encoding_forbidden"),
    "two encodings": (Request(headers=(("content-encoding", "identity, br"),)), "content_encoding_forbidden"),
    "identity": (Request(headers=(("content-encoding", "Identity"),)), "handled"),
    "at the limit": (Request((PADDED,), str(LIMIT)), "handled"),
    "announced too large": (Request((PADDED, b" "), str(LIMIT + 1)), "too_large"),
    "streamed too large": (Request((b" " * 40_000,) * 8, None), "too_large"),
    "streamed at the limit": (Request((PADDED[:40_000], PADDED[40_000:]), None), "handled"),
    "short": (Request((PAID[:-1],)), "incomplete_body"),
    "nothing of what was announced": (Request(()), "incomplete_body"),
    "chunked": (Request((PAID[:7], PAID[7:]), None), "handled"),
    "chunked, empty": (Request((), None), "empty_body"),
    "length not a number": (Request(length="abc", valid_wsgi=False), "incomplete_body"),
    "length negative": (Request(length="-1", valid_wsgi=False), "incomplete_body"),
    "length signed": (Request(length=f"+{LENGTH}", valid_wsgi=False), "incomplete_body"),
    "length twice": (Request(length=f"{LENGTH}, {LENGTH}", valid_wsgi=False), "incomplete_body"),
    "length with other digits": (Request(length="\xb2", valid_wsgi=False), "incomplete_body"),
    "length huge": (Request(length="9" * 5000, valid_wsgi=False), "incomplete_body"),
    "length large": (Request(length="9" * 16, valid_wsgi=False), "too_large"),
    "byte by byte": (Request(BYTE_BY_BYTE), "handled"),
    "byte by byte, chunked": (Request(BYTE_BY_BYTE, None), "handled"),
    "client gone at once": (Request((GONE,)), "incomplete_body"),
    "client gone in the midst": (Request((PAID[:100], GONE)), "incomplete_body"),
    "client gone in the midst, chunked": (Request((PAID[:100], GONE), None), "incomplete_body"),
    "slow": (Request((PAID[:100], SLOW, PAID[100:])), "body_timeout"),
    "slow, chunked": (Request((PAID[:100], SLOW, PAID[100:]), None), "body_timeout"),
    "Content-Type form": (
        Request(headers=(("content-type", "application/x-www-form-urlencoded"),)),
        "handled",
    ),
    "Content-Type json": (Request(headers=(("content-type", "application/json"),)), "handled"),
    "Content-Type GBK": (Request(headers=(("content-type", "text/xml; charset=GBK"),)), "handled"),
    "no Content-Type": (Request(headers=()), "handled"),
    "hostile headers": (Request(headers=HOSTILE), "handled"),
    "hostile headers, forged": (Request((FORGED,), str(len(FORGED)), headers=HOSTILE), "bad_signature"),
}


def wsgi(shop: Shop, request: Request) -> Reply:
    stream = Stream(request.pieces, wait=lambda: shop.clock.sleep(6))
    return over_wsgi(WSGIApp(shop.receiver), request, stream)


def asgi(shop: Shop, request: Request) -> Reply:
    slow = SLOW in request.pieces
    return over_asgi(ASGIApp(shop.receiver, body_seconds=0.01 if slow else 5), request)


Deliver = Callable[[Shop, Request], Reply]
deliver_by = pytest.mark.parametrize("deliver", [wsgi, asgi], ids=["wsgi", "asgi"])


def expected_reply(code: str, shop: Shop) -> Reply:
    (event,) = shop.events[-1:]
    if event.outcome.success:
        reply = build_reply()
    elif code == "method_not_allowed":
        reply = fail_reply(MethodNotAllowed())
        assert (reply.status, reply.headers[0], reply.body) == (405, ("Allow", "POST"), b"")
    else:
        reply = build_reply("FAIL", code, status=event.status)
    headers = tuple((name.lower(), value) for name, value in reply.headers)
    return Reply(reply.status, headers, reply.body)


@deliver_by
@pytest.mark.parametrize("name", REQUESTS)
def test_every_adapter_gives_every_request_the_same_reply(deliver: Deliver, name: str) -> None:
    request, code = REQUESTS[name]
    shop = Shop()
    reply = deliver(shop, request)
    assert [event.code for event in shop.events] == [code]
    assert reply == expected_reply(code, shop)
    assert len(shop.handled) == (code == "handled")
    if shop.events[0].outcome is Outcome.REJECTED and code not in ("bad_signature", "empty_body"):
        assert shop.events[0].body_bytes is None  # it was never read whole


@deliver_by
def test_a_resend_is_a_duplicate_by_every_adapter(deliver: Deliver) -> None:
    shop = Shop()
    replies = [deliver(shop, Request()) for _ in range(3)]
    assert [event.code for event in shop.events] == ["handled", "duplicate", "duplicate"]
    assert len(set(replies)) == 1


@deliver_by
def test_a_payment_settled_through_one_adapter_is_a_duplicate_for_the_other(deliver: Deliver) -> None:
    shop = Shop()
    deliver(shop, Request())
    assert wsgi(shop, Request()) == asgi(shop, Request())
    assert [event.code for event in shop.events] == ["handled", "duplicate", "duplicate"]


@deliver_by
def test_a_handler_that_fails_is_told_fail_and_called_again_by_the_resend(deliver: Deliver) -> None:
    shop = Shop(failing=[ValueError()])
    first, second = deliver(shop, Request()), deliver(shop, Request())
    assert first.body == build_reply("FAIL", "handler_failed").body
    assert first.status == 500
    assert second.status == 200


@pytest.mark.parametrize("length", [str(LIMIT + 1), "abc", "9" * 16])
def test_what_is_refused_for_its_headers_is_not_read(length: str) -> None:
    request = Request(length=length, valid_wsgi=False)
    stream, client = Stream(request.pieces), Client(request.pieces)
    over_wsgi(WSGIApp(Shop().receiver), request, stream)
    over_asgi(ASGIApp(Shop().receiver), request, client)
    assert stream.asked == []
    assert client.received == 0


def test_what_turns_out_too_large_is_not_read_on() -> None:
    request = Request((b" " * 1000,) * 1000, None)
    stream, client = Stream(request.pieces), Client(request.pieces)
    over_wsgi(WSGIApp(Shop(max_bytes=5000).receiver), request, stream)
    over_asgi(ASGIApp(Shop(max_bytes=5000).receiver), request, client)
    assert stream.given == 5001
    assert client.received == 6


@deliver_by
def test_the_time_the_body_took_counts_against_the_budget(deliver: Deliver) -> None:
    shop = Shop()
    shop.during = lambda: shop.clock.sleep(6)
    deliver(shop, Request())
    assert shop.events[0].over_budget


@deliver_by
def test_what_the_event_says_of_a_refused_request_is_in_no_reply(deliver: Deliver) -> None:
    shop = Shop()
    request = Request(headers=(("content-encoding", "x-secret-coding"),))
    reply = deliver(shop, request)
    assert "x-secret-coding" in shop.events[0].detail
    assert b"x-secret" not in reply.body
