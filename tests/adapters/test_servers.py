"""Real servers over real sockets: wsgiref and uvicorn in a thread, and four processes on one SQLite file."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from wxnotify import build_reply
from wxnotify.adapters.asgi import ASGIApp
from wxnotify.adapters.wsgi import WSGIApp
from wxnotify.testing import notification

from ..receiving import SUCCESS, Orders, Shop
from .serving import served_by_uvicorn, served_by_wsgiref

PAID = notification()


FAIL = b"<xml><return_code><![CDATA[FAIL]]></return_code>"


def post(port: int, body: bytes = PAID, method: str = "POST") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, "/notify", body, {"Content-Type": "text/xml"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Served(Shop):
    """A shop behind a server; waits for the event of a delivery that gets no reply."""

    port = 0

    def __init__(self) -> None:
        self._reported = threading.Semaphore(0)
        super().__init__(on_event=self._report)

    def _report(self, event: Any) -> None:
        self.events.append(event)
        self._reported.release()

    def next_code(self) -> str:
        assert self._reported.acquire(timeout=10)
        return self.events[-1].code

    def post(self, body: bytes = PAID, method: str = "POST") -> tuple[int, bytes]:
        return post(self.port, body, method)

    def raw(self, sent: bytes, *, then: str = "read") -> bytes:
        """
        Send bytes as they are; then "read" what comes back, or "end" the sending side, or "hang up".

        What comes back may be cut short: a server that closes with something unread resets the connection.
        """
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(sent)
            if then == "hang up":
                return received
            if then == "end":
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65_536):
                    received += piece
        return received


@pytest.fixture(params=["wsgiref", "uvicorn"])
def shop(request: pytest.FixtureRequest) -> Iterator[Served]:
    shop = Served()
    if request.param == "wsgiref":
        serving = served_by_wsgiref(WSGIApp(shop.receiver))
    else:
        serving = served_by_uvicorn(ASGIApp(shop.receiver))
    with serving as shop.port:
        yield shop


@pytest.fixture
def takes_chunks(request: pytest.FixtureRequest) -> bool:
    return "uvicorn" in request.node.name  # wsgiref leaves chunks to the application, and says so


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /notify HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]).encode()


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def test_a_payment_is_settled_over_a_socket_and_its_resend_is_a_duplicate(shop: Served) -> None:
    assert shop.post() == (200, SUCCESS.body)
    assert shop.post() == (200, SUCCESS.body)
    assert [event.code for event in shop.events] == ["handled", "duplicate"]
    assert shop.post(b"<xml/>", "GET") == (405, b"")
    assert shop.post(PAID[:-1]) == (400, build_reply("FAIL", "malformed").body)
    assert len(shop.handled) == 1


def test_a_chunked_body_is_read_where_the_server_ends_it_and_refused_elsewhere(
    shop: Served, takes_chunks: bool
) -> None:
    answer = shop.raw(head("Transfer-Encoding: chunked") + chunked(PAID[:9], PAID[9:]))
    if takes_chunks:
        assert answer.endswith(SUCCESS.body)
        assert shop.next_code() == "handled"
    else:
        assert shop.next_code() == "incomplete_body"


def test_a_chunked_body_over_the_limit_is_refused(shop: Served, takes_chunks: bool) -> None:
    shop.raw(head("Transfer-Encoding: chunked") + chunked(*[b" " * 16_000] * 6))
    assert shop.next_code() == ("too_large" if takes_chunks else "incomplete_body")
    assert shop.handled == []


def test_a_length_over_the_limit_is_refused_before_the_body_comes(shop: Served) -> None:
    with socket.create_connection(("127.0.0.1", shop.port), timeout=10) as connection:
        connection.sendall(head("Content-Length: 65537"))
        assert b" 413 " in connection.recv(65_536)
    assert shop.next_code() == "too_large"


def test_a_length_that_announces_more_than_comes_is_refused(shop: Served) -> None:
    shop.raw(head(f"Content-Length: {len(PAID) + 10}") + PAID, then="end")
    assert shop.next_code() == "incomplete_body"
    assert shop.post() == (200, SUCCESS.body)


def test_a_length_that_announces_less_than_comes_cuts_the_body_there(shop: Served) -> None:
    shop.raw(head(f"Content-Length: {len(PAID) - 10}") + PAID)
    assert shop.next_code() == "malformed"
    assert shop.handled == []


def test_a_client_that_hangs_up_in_the_midst_of_the_body_does_no_harm(shop: Served) -> None:
    shop.raw(head(f"Content-Length: {len(PAID)}") + PAID[:50], then="hang up")
    assert shop.next_code() == "incomplete_body"
    assert shop.post() == (200, SUCCESS.body)
    assert len(shop.handled) == 1


def test_a_client_that_hangs_up_in_the_midst_of_the_handler_finds_it_settled(shop: Served) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def until_told() -> None:
        begun.set()
        assert go_on.wait(10)

    shop.during = until_told
    with socket.create_connection(("127.0.0.1", shop.port), timeout=10) as connection:
        connection.sendall(head(f"Content-Length: {len(PAID)}") + PAID)
        assert begun.wait(10)
    go_on.set()
    assert shop.next_code() == "handled"
    assert shop.post() == (200, SUCCESS.body)
    assert shop.next_code() == "duplicate"
    assert len(shop.handled) == 1


# --- four processes, one file ------------------------------------------------------------

PROCESSES, DELIVERIES = 4, 64


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Orders, list[int]]]:
    database = Orders(tmp_path / "shop.db")
    script = str(Path(__file__).with_name("serving_child.py"))
    children = [
        subprocess.Popen([sys.executable, script, str(database.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        yield database, [int(child.stdout.readline()) for child in children if child.stdout]
    finally:
        for child in children:
            child.kill()
        for child in children:
            child.communicate()


def test_of_64_notifications_at_once_to_four_processes_one_changes_the_order_and_none_waits_5_seconds(
    servers: tuple[Orders, list[int]],
) -> None:
    database, ports = servers
    gate = threading.Barrier(DELIVERIES)

    def deliver(n: int) -> tuple[float, int, bytes]:
        body = notification(nonce_str=f"nonce{n}")
        gate.wait()
        began = time.monotonic()
        status, answer = post(ports[n % PROCESSES], body)
        return time.monotonic() - began, status, answer

    with ThreadPoolExecutor(DELIVERIES) as threads:
        replies = list(threads.map(deliver, range(DELIVERIES)))
    assert database.shipped == 1
    assert (200, SUCCESS.body) in {(status, body) for _, status, body in replies}
    for seconds, status, body in replies:
        assert body == SUCCESS.body if status == 200 else body.startswith(FAIL)
        assert seconds < 5
    # And each one that was told FAIL finds it settled when it comes again.
    assert [post(port) for port in ports] == [(200, SUCCESS.body)] * PROCESSES
    assert database.shipped == 1
