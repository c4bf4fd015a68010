"""A DjangoStore on an event loop: the receiver's worker threads, and the connections they use."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from wxnotify import Expected, Merchant, Receiver
from wxnotify.idempotency import State
from wxnotify.testing import APPID, KEY, MCH_ID, notification

pytest.importorskip("tests.django_shop.databases")  # sets Django up

from django.db import connections

from wxnotify.stores.django import DjangoStore

from ..django_shop.databases import environment, need
from ..django_shop.models import Effect, Order

COUNT = 50
_CONNECTED = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mariadb": "SELECT count(*) FROM information_schema.processlist "
    "WHERE db = database() AND id <> connection_id()",
}


@pytest.fixture(params=["postgresql", "mariadb"])
def alias(request):
    return need(request.param)


def ask(alias, statement):
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def others_connected(alias, expected=0):
    """Count the connections to the database, without this thread's; wait for those just closed to go."""
    for _ in range(50):
        ((count,),) = ask(alias, _CONNECTED[alias])
        if count == expected:
            break
        time.sleep(0.02)
    return count


def receiver_on(store, *, awaited=False, **options):
    """A receiver whose expectation and handler use the ORM."""

    def expect(payment):
        assert Order.objects.using(store.using).count() == 0
        return Expected(100)

    async def expect_soon(payment):
        return Expected(100)  # without the ORM, whose own threads are not the receiver's

    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY), store, expect=expect_soon if awaited else expect, **options
    )

    @receiver.on("payment", transaction=store.transaction)
    def ship(payment, connection):
        Effect.objects.using(store.using).create(natural_key=payment.key)

    return receiver


def bodies():
    return [notification(transaction_id=f"42{n:026}", out_trade_no=f"A-{n}") for n in range(COUNT)]


async def deliver_all(receiver, sent):
    return [reply.status for reply in await asyncio.gather(*map(receiver.receive_async, sent))]


@pytest.mark.parametrize("awaited", [False, True], ids=["blocking", "awaited expectation"])
def test_deliveries_at_once_are_each_handled_once_and_leave_no_connection(alias, awaited):
    store = DjangoStore(alias, timeout=20)
    receiver = receiver_on(store, awaited=awaited, threads=8)
    # Some twice, of which the second may be told to come again.
    first, second = bodies(), bodies()[::5]
    statuses = asyncio.run(deliver_all(receiver, first + second))
    assert statuses.count(200) >= COUNT
    assert set(statuses) <= {200, 503}
    assert Effect.objects.using(alias).count() == COUNT
    assert {record.state for record in store.records()} == {State.DONE}
    assert others_connected(alias) == 0


@pytest.fixture
def one_thread(alias):
    """A receiver with one worker thread, whose connections may live for a minute."""
    receiver = receiver_on(DjangoStore(alias, timeout=20), threads=1)
    connections.settings[alias]["CONN_MAX_AGE"] = 60
    try:
        yield receiver
    finally:
        receiver._threads().submit(connections.close_all).result()
        connections.settings[alias]["CONN_MAX_AGE"] = 0


def test_a_connection_that_may_live_on_serves_the_next_delivery(alias, one_thread):
    for body in bodies()[:3]:
        assert asyncio.run(one_thread.receive_async(body)).status == 200
        assert others_connected(alias, 1) == 1


_KILL = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mariadb": "SELECT id FROM information_schema.processlist "
    "WHERE db = database() AND id <> connection_id()",
}


def test_a_connection_that_went_stale_in_a_thread_spoils_one_delivery_at_most(alias, one_thread):
    first, *others = bodies()[:3]
    assert asyncio.run(one_thread.receive_async(first)).status == 200
    killed = ask(alias, _KILL[alias])
    assert len(killed) == 1
    if alias == "mariadb":
        with connections[alias].cursor() as cursor:
            cursor.execute(f"KILL {killed[0][0]}")
    # The merchant's own expectation meets the stale connection first, and cannot know better.
    statuses = [asyncio.run(one_thread.receive_async(body)).status for body in (*others, others[0])]
    assert statuses[1:] == [200, 200]


# --- a real server ---------------------------------------------------------------------------------


@pytest.fixture
def port(alias, tmp_path):
    """The shop under uvicorn, in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "tests.django_shop.asgi:application", f"--port={port}"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*command, "--log-level=warning"], env=environment(alias), stderr=log)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
        yield port
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait()


@pytest.mark.parametrize("path", ["notify", "notify-async"])
def test_under_asgi_orders_are_shipped_once_and_no_connection_stays(alias, port, path):
    Order.objects.using(alias).bulk_create(Order(number=f"A-{n}") for n in range(COUNT))

    def send(body):
        address = f"http://127.0.0.1:{port}/{path}"
        request = urllib.request.Request(address, body, {"Content-Type": "text/xml"})
        for _ in range(20):  # as WeChat Pay would, only sooner
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=60) as response:
                return response.status
        pytest.fail("never handled")

    async def send_all():
        return await asyncio.gather(*(asyncio.to_thread(send, body) for body in bodies() + bodies()[::5]))

    assert set(asyncio.run(send_all())) == {200}
    assert set(Order.objects.using(alias).values_list("shipped", flat=True)) == {1}
    assert others_connected(alias) == 0
