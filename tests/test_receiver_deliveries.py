"""The receiver: the same payment again and again, while handlers, stores and commits fail."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from wxnotify import (
    WAIVE_EXPECTATION,
    Event,
    Expected,
    Outcome,
    Payment,
    Receiver,
    build_reply,
)
from wxnotify.errors import BadSignature, StoreUnavailable
from wxnotify.idempotency import Claim, Store
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import notification, payment

from .receiving import MERCHANT, ORDER, SUCCESS, FaultyStore, Orders, Shop, assert_told

PAID = notification()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each of the stores that need no server."""
    if request.param == "memory":
        yield MemoryStore()
    else:
        with SQLiteStore(tmp_path / "claims.db") as sqlite_store:
            yield sqlite_store


# --- again ---------------------------------------------------------------------


def test_every_resend_is_a_duplicate_and_told_success(store: Store) -> None:
    shop = Shop(store)
    codes = [shop.deliver(nonce_str=f"nonce{n}") for n in range(16)]
    assert codes == ["handled"] + ["duplicate"] * 15
    assert len(shop.handled) == 1
    assert {event.attempts for event in shop.events} == {1}


@pytest.mark.parametrize(
    "changes",
    [
        {"total_fee": "200"},
        {"out_trade_no": "A-1002"},  # one transaction for two orders
        {"fee_type": "USD"},
    ],
    ids=str,
)
def test_the_same_transaction_with_other_content_is_a_conflict(store: Store, changes: dict[str, str]) -> None:
    shop = Shop(store, expect=WAIVE_EXPECTATION)
    assert shop.deliver() == "handled"
    assert shop.deliver(**changes) == "conflict"
    assert shop.events[1].status == 500
    assert shop.deliver() == "duplicate"
    assert len(shop.handled) == 1


def test_a_conflict_is_one_while_the_first_is_still_being_handled_too(store: Store) -> None:
    shop = Shop(store, expect=WAIVE_EXPECTATION)
    shop.during = lambda: shop.receiver.receive(notification(total_fee="200"))
    assert shop.receiver.receive(PAID) == SUCCESS
    assert [event.code for event in shop.events] == ["conflict", "handled"]


def test_a_second_transaction_for_a_settled_order_is_refused() -> None:
    shop = Shop()
    settled = Expected(100, transaction_id=payment().transaction_id)
    shop.during = lambda: shop.orders.update({ORDER: settled})
    assert shop.deliver() == "handled"
    assert shop.deliver() == "duplicate"
    assert shop.deliver(transaction_id="4200000000202611230000000002") == "transaction_mismatch"
    assert shop.events[-1].status == 409


def test_while_one_delivery_is_handled_another_waits_and_is_told_fail(store: Store) -> None:
    shop = Shop(store)
    shop.during = lambda: shop.receiver.receive(PAID)
    began = shop.clock.now
    reply = shop.receiver.receive(PAID)
    inner, outer = shop.events
    assert reply == SUCCESS
    assert (inner.outcome, inner.status) == (Outcome.IN_PROGRESS, 503)
    assert outer.outcome is Outcome.HANDLED
    assert 3.0 < sum(shop.clock.slept) <= 3.5
    assert shop.clock.now - began <= 3.5
    assert len(shop.handled) == 1


def test_what_the_request_took_before_counts_against_the_wait() -> None:
    shop = Shop()
    shop.during = lambda: shop.receiver.receive(PAID, started=shop.clock.now - 3.4)
    shop.receiver.receive(PAID)
    assert shop.events[0].outcome is Outcome.IN_PROGRESS
    assert sum(shop.clock.slept) <= 0.1
    assert shop.events[0].seconds >= 3.4


def test_who_lost_the_lease_is_told_success_only_once_the_successor_is_done() -> None:
    shop = Shop(wait=0)

    def outlive_the_lease() -> None:
        shop.during = lambda: None
        shop.clock.now += 31
        shop.receiver.receive(PAID)

    shop.during = outlive_the_lease
    assert shop.receiver.receive(PAID) == SUCCESS
    successor, slow = shop.events
    assert (successor.outcome, successor.attempts) == (Outcome.HANDLED, 2)
    assert slow.outcome is Outcome.DUPLICATE
    assert len(shop.handled) == 2  # which is why a lease is longer than the slowest handler


def test_who_lost_the_lease_to_a_successor_that_failed_is_told_fail() -> None:
    shop = Shop(wait=0, failing=[ValueError()])

    def outlive_the_lease() -> None:
        shop.during = lambda: None
        shop.clock.now += 31
        shop.receiver.receive(PAID)

    shop.during = outlive_the_lease
    assert shop.receiver.receive(PAID) == build_reply("FAIL", "lost", status=503)
    successor, slow = shop.events
    assert successor.outcome is Outcome.HANDLER_FAILED
    assert slow.outcome is Outcome.LOST
    assert shop.deliver() == "handled"


def test_a_lease_that_ran_out_while_nobody_took_over_does_no_harm() -> None:
    shop = Shop()
    shop.during = lambda: shop.clock.sleep(3600)
    assert shop.deliver() == "handled"


# --- failing handlers ----------------------------------------------------------


def test_a_handler_that_fails_is_called_again_by_the_resend(store: Store) -> None:
    shop = Shop(store, failing=[ValueError("out of stock"), StopIteration(), BadSignature("of the handler")])
    assert [shop.deliver() for _ in range(5)] == ["handler_failed"] * 3 + ["handled", "duplicate"]
    assert len(shop.handled) == 4
    assert [event.attempts for event in shop.events] == [1, 2, 3, 4, 4]
    assert {event.status for event in shop.events[:3]} == {500}
    record = store.find(shop.handled[0].key)
    assert record is not None
    assert record.last_error == "BadSignature: of the handler"


def test_a_handler_that_is_interrupted_is_called_again_by_the_resend(store: Store) -> None:
    shop = Shop(store, failing=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        shop.receiver.receive(PAID)
    assert shop.deliver() == "handled"


def test_a_handler_that_returns_a_coroutine_by_mistake_has_not_handled_anything(store: Store) -> None:
    async def ship(payment: Payment) -> None: ...

    receiver = Receiver(MERCHANT, store, expect=WAIVE_EXPECTATION)
    receiver.on("payment")(lambda payment: ship(payment))
    assert receiver.receive(PAID) == build_reply("FAIL", "handler_failed", status=500)


def test_a_handler_that_is_a_generator_by_mistake_has_not_handled_anything(store: Store) -> None:
    async def paged(payment: Payment) -> AsyncIterator[None]:
        yield

    for mistaken in (lambda payment: (yield), paged):
        receiver = Receiver(MERCHANT, store, expect=WAIVE_EXPECTATION)
        receiver.on("payment")(mistaken)
        assert receiver.receive(PAID) == build_reply("FAIL", "handler_failed", status=500)


def test_what_a_handler_raised_after_it_lost_its_lease_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    shop = Shop(wait=0)

    def outlive_the_lease() -> None:
        shop.during = lambda: None
        shop.clock.now += 31
        shop.receiver.receive(PAID)
        raise ValueError("too late")

    shop.during = outlive_the_lease
    assert shop.receiver.receive(PAID) == SUCCESS  # the successor is done
    assert shop.events[-1].outcome is Outcome.DUPLICATE
    assert "too late" in caplog.text


# --- failing stores ------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreUnavailable("full"), OSError("gone"), RuntimeError()], ids=repr)
def test_a_store_that_is_down_at_the_claim_fails_closed_and_recovers(error: Exception) -> None:
    store = FaultyStore()
    store.faults["claim"] = [error]
    shop = Shop(store)
    assert shop.deliver() == "store_down"
    assert shop.handled == []
    assert shop.deliver() == "handled"


@pytest.mark.parametrize("late", [True, False], ids=["acknowledgement lost", "not done"])
def test_a_store_that_is_down_at_the_completion_for_a_moment_is_asked_again(late: bool) -> None:
    store = FaultyStore(late=late)
    store.faults["complete"] = [OSError(), OSError()]
    shop = Shop(store)
    assert shop.deliver() == "handled"
    assert shop.clock.slept == [0.1, 0.4]
    assert shop.deliver() == "duplicate"


def test_a_store_that_stays_down_at_the_completion_is_no_success_and_recovers() -> None:
    shop = Shop(FaultyStore())
    shop.store._clock = shop.clock
    shop.store.faults["complete"] = [OSError()] * 3
    assert shop.deliver() == "store_down"
    assert shop.deliver() == "in_progress"
    shop.clock.now += 31
    assert shop.deliver() == "handled"
    assert len(shop.handled) == 2  # a lease store's promise; in a transaction it would be one


def test_a_store_that_is_down_at_the_release_leaves_it_to_the_lease() -> None:
    shop = Shop(FaultyStore(), failing=[ValueError()])
    shop.store._clock = shop.clock
    shop.store.faults["release"] = [OSError()]
    assert shop.deliver() == "handler_failed"
    assert shop.deliver() == "in_progress"
    shop.clock.now += 31
    assert shop.deliver() == "handled"


# --- in the merchant's own transaction -----------------------------------------


class TransactionalShop(Shop):
    """Orders and claims in one file."""

    def __init__(self, path: Path) -> None:
        self.database = Orders(path)
        self.transaction: Callable[[], Any] = self.database.transaction
        super().__init__(SQLiteStore(path, clock=lambda: self.clock.now))

    def register(self) -> None:
        self.receiver.on("payment", transaction=lambda: self.transaction())(self.ship)

    def ship(self, payment: Payment, connection: Any) -> None:
        self.database.ship(payment, connection)
        self.handle(payment)


@pytest.fixture
def transactional(tmp_path: Path) -> Iterator[TransactionalShop]:
    shop = TransactionalShop(tmp_path / "shop.db")
    with shop.store:
        yield shop


def test_in_a_transaction_order_and_completion_happen_both_or_not_at_all(
    transactional: TransactionalShop,
) -> None:
    transactional.failing = [ValueError()]
    assert transactional.deliver() == "handler_failed"
    assert transactional.database.shipped == 0
    assert transactional.deliver() == "handled"
    assert transactional.deliver() == "duplicate"
    assert transactional.database.shipped == 1
    assert len(transactional.handled) == 2


def test_in_a_transaction_a_handler_that_outlived_its_lease_is_rolled_back(
    transactional: TransactionalShop,
) -> None:
    paid = payment()
    successor: list[Claim] = []
    open_transaction = transactional.transaction

    # It is overtaken before it begins to write, or SQLite would make the successor wait for it.
    def overtaken() -> Any:
        transactional.clock.now += 31
        successor.append(
            transactional.store.claim(paid.key, fingerprint=paid.fingerprint, owner=b"s" * 16, lease=30)
        )
        return open_transaction()

    transactional.transaction = overtaken
    assert transactional.deliver() == "lost"
    assert len(transactional.handled) == 1
    assert transactional.database.shipped == 0
    transactional.store.release(successor[0], error="gave up")
    transactional.transaction = open_transaction
    assert transactional.deliver() == "handled"
    assert transactional.database.shipped == 1


def test_a_commit_that_raised_although_it_happened_is_success(transactional: TransactionalShop) -> None:
    @contextlib.contextmanager
    def unacknowledged() -> Iterator[Any]:
        with transactional.database.transaction() as connection:
            yield connection
        raise ConnectionError("the acknowledgement was lost")

    transactional.transaction = unacknowledged
    assert transactional.deliver() == "handled"
    assert transactional.deliver() == "duplicate"
    assert transactional.database.shipped == 1


def test_a_transaction_that_was_never_committed_is_no_success(transactional: TransactionalShop) -> None:
    @contextlib.contextmanager
    def forgotten() -> Iterator[Any]:
        connection = sqlite3.connect(transactional.database.path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.close()

    transactional.transaction = forgotten
    assert transactional.deliver() == "not_committed"
    assert transactional.database.shipped == 0
    assert transactional.events[0].outcome is Outcome.HANDLER_FAILED


def test_a_transaction_on_another_database_is_no_success(
    transactional: TransactionalShop, tmp_path: Path
) -> None:
    other = Orders(tmp_path / "other.db")
    transactional.transaction = other.transaction
    assert transactional.deliver() == "handler_failed"
    assert other.shipped == 0
    assert transactional.handled == []


# --- at the same time ----------------------------------------------------------


def test_of_64_deliveries_at_once_in_threads_one_is_handled(store: Store) -> None:
    handled: list[Payment] = []
    events: list[Event] = []
    receiver = Receiver(MERCHANT, store, expect=lambda payment: Expected(100), on_event=events.append)
    receiver.on("payment")(handled.append)
    gate = Barrier(64)

    def deliver(n: int) -> bytes:
        body = notification(nonce_str=f"nonce{n}")
        gate.wait()
        reply = receiver.receive(body)
        assert reply == SUCCESS or reply.body.startswith(b"<xml><return_code><![CDATA[FAIL]]>")
        return reply.body

    with ThreadPoolExecutor(64) as threads:
        replies = list(threads.map(deliver, range(64)))
    assert len(handled) == 1
    assert len(events) == 64
    assert SUCCESS.body in replies
    assert sum(event.outcome is Outcome.HANDLED for event in events) == 1


def test_of_64_deliveries_at_once_in_a_transaction_one_changes_the_order(tmp_path: Path) -> None:
    database = Orders(tmp_path / "shop.db")
    with SQLiteStore(tmp_path / "shop.db") as store:
        receiver = Receiver(MERCHANT, store, expect=lambda payment: Expected(100))
        receiver.on("payment", transaction=database.transaction)(database.ship)
        with ThreadPoolExecutor(64) as threads:
            replies = list(threads.map(receiver.receive, [PAID] * 64))
    assert database.shipped == 1
    assert SUCCESS in replies


def test_replies_and_events_agree() -> None:
    shop = Shop()
    reply = shop.receiver.receive(PAID)
    assert_told(reply, shop.events[0])
    assert reply.body == (
        b"<xml><return_code><![CDATA[SUCCESS]]></return_code><return_msg><![CDATA[OK]]></return_msg></xml>"
    )


@pytest.mark.parametrize("changes", [{"appid": "wx8888888888888889"}, {"mch_id": "1900000110"}], ids=str)
def test_a_query_about_another_merchants_order_is_refused_before_the_order_is_looked_up(
    changes: dict[str, str],
) -> None:
    shop = Shop()
    event = shop.receiver.settle(payment(**changes))
    assert event.code in ("merchant_mismatch", "unknown_merchant")
    assert shop.asked == shop.handled == []
