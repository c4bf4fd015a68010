"""What is special about ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wxnotify.adapters.asgi import ASGIApp

from ..receiving import Shop
from .sending import PAID, Client, Request, over_asgi, scope_of


def test_lifespan_is_answered_at_startup_and_at_shutdown() -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(ASGIApp(Shop().receiver)({"type": "lifespan"}, receive, send))
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


def test_a_websocket_is_closed() -> None:
    client = Client(())
    shop = Shop()
    asyncio.run(ASGIApp(shop.receiver)({"type": "websocket"}, client.receive, client.send))
    assert client.sent == [{"type": "websocket.close"}]
    assert shop.events == []


@pytest.mark.parametrize("at", ["http.response.start", "http.response.body"])
def test_a_client_that_has_gone_when_the_reply_is_sent_is_settled_all_the_same(at: str) -> None:
    class Gone(Client):
        async def send(self, message: Any) -> None:
            if message["type"] == at:
                raise BrokenPipeError
            await super().send(message)

    shop = Shop()
    client = Gone((PAID,))
    asyncio.run(ASGIApp(shop.receiver)(scope_of(Request()), client.receive, client.send))
    assert shop.deliver() == "duplicate"


def test_an_error_of_the_server_while_sending_is_the_servers() -> None:
    class Wrong(Client):
        async def send(self, message: Any) -> None:
            raise RuntimeError("unexpected message")

    client = Wrong((PAID,))
    with pytest.raises(RuntimeError):
        asyncio.run(ASGIApp(Shop().receiver)(scope_of(Request()), client.receive, client.send))


def test_two_lengths_are_no_length_even_if_they_agree() -> None:
    shop = Shop()
    headers = (("content-length", str(len(PAID))),)
    client = Client((PAID,))
    assert over_asgi(ASGIApp(shop.receiver), Request(headers=headers), client).status == 400
    assert shop.events[0].code == "incomplete_body"
    assert client.received == 0


def test_two_encodings_are_refused() -> None:
    shop = Shop()
    headers = (("content-encoding", "identity"), ("content-encoding", "identity"))
    assert over_asgi(ASGIApp(shop.receiver), Request(headers=headers)).status == 415


def test_headers_are_found_however_they_are_spelt() -> None:
    shop = Shop()
    assert over_asgi(ASGIApp(shop.receiver), Request(headers=(("Content-Encoding", "gzip"),))).status == 415


def test_a_body_longer_than_announced_is_refused() -> None:
    shop = Shop()
    assert over_asgi(ASGIApp(shop.receiver), Request((PAID, b"\n"))).status == 400
    assert shop.events[0].code == "incomplete_body"


def test_without_a_length_the_body_ends_where_the_server_says() -> None:
    shop = Shop()
    client = Client((PAID,))
    scope = scope_of(Request())
    scope["headers"] = []
    asyncio.run(ASGIApp(shop.receiver)(scope, client.receive, client.send))
    assert shop.events[0].code == "handled"


def test_messages_without_a_body_are_empty_pieces() -> None:
    class Sparse(Client):
        async def receive(self) -> Any:
            message = await super().receive()
            return {name: value for name, value in message.items() if value not in (b"", False)}

    shop = Shop()
    client = Sparse((b"", PAID, b""))
    assert over_asgi(ASGIApp(shop.receiver), Request(), client).status == 200


def test_a_request_cancelled_by_the_server_leaves_the_payment_to_be_settled() -> None:
    shop = Shop()

    async def cancelled() -> None:
        client = Client((PAID,))
        task = asyncio.ensure_future(ASGIApp(shop.receiver)(scope_of(Request()), client.receive, client.send))
        while not shop.asked:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not shop.events:
            await asyncio.sleep(0)

    shop.during = lambda: None
    asyncio.run(cancelled())
    assert shop.deliver() == "duplicate"
