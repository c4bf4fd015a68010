"""What is special about WSGI."""

from __future__ import annotations

import io

import pytest

from wxnotify.adapters.wsgi import WSGIApp

from ..receiving import Shop
from .sending import PAID, Request, Stream, environ_of, over_wsgi

CHUNKED = Request((PAID,), None)


def test_a_chunked_body_is_read_where_the_server_ends_it() -> None:
    shop = Shop()
    over_wsgi(WSGIApp(shop.receiver), CHUNKED)
    assert shop.events[0].code == "handled"


@pytest.mark.parametrize("terminated", [False, None, 0])
def test_a_chunked_body_nobody_ends_is_refused_unread(terminated: object) -> None:
    shop = Shop()
    stream = Stream(CHUNKED.pieces)
    reply = over_wsgi(WSGIApp(shop.receiver), CHUNKED, stream, **{"wsgi.input_terminated": terminated})
    assert reply.status == 400
    assert shop.events[0].code == "incomplete_body"
    assert stream.asked == []


def test_without_a_length_there_is_no_body_and_nothing_is_waited_for() -> None:
    shop = Shop()
    stream = Stream((PAID,))
    environ = environ_of(Request(), stream)
    del environ["CONTENT_LENGTH"]
    list(WSGIApp(shop.receiver)(environ, lambda status, headers: None))
    assert shop.events[0].code == "empty_body"
    assert stream.asked == []


def test_nothing_is_read_beyond_the_announced_length() -> None:
    shop = Shop()
    stream = io.BytesIO(PAID + b"GET /next HTTP/1.1\r\n")
    over_wsgi(WSGIApp(shop.receiver), Request(), stream)
    assert shop.events[0].code == "handled"
    assert stream.tell() == len(PAID)


def test_no_read_asks_for_more_than_is_left() -> None:
    body = PAID + b" " * 40_000
    stream = Stream((body[:10], body[10:]))
    over_wsgi(WSGIApp(Shop().receiver), Request((body,), str(len(body))), stream)
    assert sum(stream.asked) >= len(body)
    assert max(stream.asked) <= 16_384
    assert stream.asked[-1] <= len(body) - 10 - 2 * 16_384


def test_the_receivers_limit_is_kept() -> None:
    for over, status in ((0, 200), (1, 413)):
        shop = Shop(max_bytes=len(PAID) - over)
        assert over_wsgi(WSGIApp(shop.receiver), Request()).status == status


def test_a_body_that_drips_is_refused_at_the_first_read_past_the_deadline() -> None:
    shop = Shop()

    class Dripping(Stream):
        def read(self, size: int) -> bytes:
            shop.clock.now += 1
            return super().read(1)

    stream = Dripping((PAID,))
    reply = over_wsgi(WSGIApp(shop.receiver, body_seconds=3), Request(), stream)
    assert reply.status == 408
    assert len(stream.asked) == 4


@pytest.mark.parametrize("error", [TimeoutError, ValueError, EOFError])
def test_an_error_while_reading_is_reported_with_its_cause_and_without_its_text(
    error: type[Exception],
) -> None:
    shop = Shop()

    class Broken(Stream):
        def read(self, size: int) -> bytes:
            raise error("secret")

    reply = over_wsgi(WSGIApp(shop.receiver), Request(), Broken(()))
    assert reply.status == 400
    assert "secret" not in repr(shop.events)


def test_the_status_line_has_the_words_http_gives_it() -> None:
    lines: list[str] = []
    app = WSGIApp(Shop().receiver)
    for request in (Request(), Request(method="GET"), Request(length="abc")):
        app(environ_of(request, Stream(request.pieces)), lambda status, headers: lines.append(status))
    assert lines == ["200 OK", "405 Method Not Allowed", "400 Bad Request"]
