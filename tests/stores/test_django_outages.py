"""A server that is frozen, slow, restarted or away: told in time, and forgotten once it is back."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from wxnotify.errors import StoreUnavailable
from wxnotify.idempotency import ClaimOutcome, State
from wxnotify.testing import notification

pytest.importorskip("tests.django_shop.databases")  # sets Django up

from django.db import connections
from django.db.utils import Error

from wxnotify import Expected, Merchant, Receiver
from wxnotify.stores.django import DjangoStore
from wxnotify.testing import APPID, KEY, MCH_ID

from ..django_shop.databases import need
from ..django_shop.models import Effect, Order
from ..django_shop.proxy import Proxy

KEEP = 3 * 86_400.0
#: What the promise is, and what a loaded machine may add.
TIMEOUT, LATE = 0.6, 1.4
_owners = itertools.count(1)


@pytest.fixture(params=["postgresql", "mariadb"])
def alias(request):
    return need(request.param)


@pytest.fixture
def proxy(alias):
    settings = connections.settings[alias]
    before = settings["HOST"], settings["PORT"]
    proxy = Proxy((before[0], int(before[1])))
    settings["HOST"], settings["PORT"] = "127.0.0.1", proxy.port
    connections[alias].close()
    yield proxy
    proxy.close()
    connections[alias].close()
    settings["HOST"], settings["PORT"] = before


@pytest.fixture
def hasty(alias):
    """A store that is told in time."""
    return DjangoStore(alias, timeout=TIMEOUT)


@pytest.fixture
def store(alias):
    """The same, with the time a loaded machine needs."""
    return DjangoStore(alias, timeout=20)


def claim(store, key="key", lease=30.0):
    return store.claim(key, fingerprint=b"f" * 32, owner=next(_owners).to_bytes(16, "big"), lease=lease)


def in_time(action, *expected):
    """Give what *action* raised, which it must have done in time."""
    began = time.monotonic()
    with pytest.raises(expected or StoreUnavailable) as raised:
        action()
    assert time.monotonic() - began < TIMEOUT + LATE
    return raised.value


def elsewhere(action):
    """Call *action* in another thread, with connections of its own; give its result."""
    results = []

    def run():
        try:
            results.append(action())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return results[0]


def test_a_server_that_freezes_is_told_in_time_and_found_again(alias, proxy, store, hasty):
    claim(store)
    proxy.freeze()
    for _ in range(2):  # on a connection, and without one
        in_time(lambda: claim(hasty, "other"))
        in_time(lambda: hasty.find("key"))
    proxy.thaw()
    assert store.find("key").state is State.PENDING
    assert Order.objects.using(alias).count() == 0


def test_a_server_that_is_away_is_told_in_time_and_found_again(alias, proxy, store, hasty):
    claim(store)
    proxy.refuse()
    for _ in range(2):
        in_time(lambda: claim(hasty, "other"))
    proxy.thaw()
    assert claim(store, "other").outcome is ClaimOutcome.ACQUIRED
    assert Order.objects.using(alias).count() == 0


def test_a_server_that_comes_back_in_time_was_never_away(proxy, store):
    claim(store)
    proxy.refuse()
    threading.Timer(0.2, proxy.thaw).start()
    assert claim(store, "other").outcome is ClaimOutcome.ACQUIRED


def test_a_connection_that_the_server_dropped_is_replaced(alias, proxy, store):
    first = claim(store)
    for verb in (
        lambda: store.extend(first, 30),
        lambda: store.complete(first, retain=KEEP),
        lambda: store.find("key"),
        lambda: store.purge(KEEP, 10),
        lambda: list(store.records()),
    ):
        proxy.cut()
        verb()
    assert store.find("key").state is State.DONE


def test_a_connection_the_merchant_left_broken_is_replaced(alias, proxy, store):
    assert Order.objects.using(alias).count() == 0
    proxy.cut()
    with pytest.raises(Error):
        Order.objects.using(alias).count()
    assert claim(store).outcome is ClaimOutcome.ACQUIRED
    assert Order.objects.using(alias).count() == 0


def test_a_transaction_whose_completion_gets_no_answer_is_rolled_back(alias, proxy, store, hasty):
    held = claim(store)

    def settle():
        with store.transaction() as connection:
            bound = hasty.bind(connection)
            Effect.objects.using(alias).create(natural_key="key")
            proxy.freeze()
            bound.complete(held, retain=KEEP)

    in_time(settle)
    proxy.cut()
    proxy.thaw()
    assert store.find("key").state is State.PENDING
    assert Effect.objects.using(alias).count() == 0
    with store.transaction() as connection:
        store.bind(connection).complete(held, retain=KEEP)
    assert store.find("key").state is State.DONE


@pytest.mark.parametrize("lost", ["the commit", "its acknowledgement"])
def test_a_commit_without_an_answer_is_told_in_time_and_the_store_knows(alias, proxy, store, hasty, lost):
    held = claim(store)

    def settle():
        with hasty.transaction() as connection:
            bound = store.bind(connection)
            Effect.objects.using(alias).create(natural_key="key")
            bound.complete(held, retain=KEEP)
            (proxy.freeze if lost == "the commit" else proxy.mute)()

    in_time(settle)
    proxy.cut()
    proxy.thaw()
    committed = lost != "the commit"
    assert store.find("key").state is (State.DONE if committed else State.PENDING)
    assert Effect.objects.using(alias).count() == committed


def test_a_transaction_that_cannot_begin_is_told_in_time(alias, proxy, store, hasty):
    connections[alias].close()
    proxy.freeze()

    def settle():
        with hasty.transaction():
            pytest.fail("it has begun")

    in_time(settle)
    assert not connections[alias].in_atomic_block
    proxy.thaw()
    with store.transaction() as connection:
        assert connection.in_atomic_block


def test_whoever_finds_a_row_locked_is_told_in_time_that_somebody_is_at_it(alias, store):
    held = claim(store, lease=0.001)
    time.sleep(0.01)
    with store.transaction() as connection:
        store.bind(connection).complete(held, retain=KEEP)
        began = time.monotonic()
        told = elsewhere(lambda: claim(DjangoStore(alias, timeout=3)))
        assert time.monotonic() - began < 3 + LATE
        assert told.outcome is ClaimOutcome.IN_PROGRESS
    assert claim(store).outcome is ClaimOutcome.COMPLETED


def test_many_threads_may_connect_at_once(alias, store):
    outcomes = []

    def deliver(number):
        try:
            outcomes.append(claim(store, f"key {number}").outcome)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver, args=[number]) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [ClaimOutcome.ACQUIRED] * 64


def test_attempts_to_connect_do_not_pile_up(alias, proxy, store, hasty):
    proxy.freeze()
    connections[alias].close()
    threads = threading.active_count()
    for _ in range(3):
        in_time(lambda: hasty.find("key"))
    assert threading.active_count() <= threads + 16 + 2
    proxy.thaw()
    assert store.find("key") is None


def test_a_delivery_is_told_fail_in_time_and_its_resend_is_handled(alias, proxy):
    store, events, handled = DjangoStore(alias), [], []
    receiver = Receiver(
        Merchant(MCH_ID, APPID, KEY),
        store,
        expect=lambda payment: Expected(100),
        on_event=events.append,
        lease=1.0,  # for a claim that the server had received and makes once it goes on
    )

    @receiver.on("payment", transaction=store.transaction)
    def ship(payment, connection):
        handled.append(payment)

    assert store.find("-") is None
    proxy.freeze()
    began = time.monotonic()
    assert receiver.receive(notification()).status == 503
    assert time.monotonic() - began < 2
    assert (events[-1].code, handled) == ("store_down", [])
    proxy.thaw()
    assert receiver.receive(notification()).status == 200
    assert len(handled) == 1
