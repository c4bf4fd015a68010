"""The receiver on an event loop: what runs where, and what a client that hung up leaves behind."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wxnotify import WAIVE_EXPECTATION, Event, Expected, Outcome, Payment, Receiver, Reply, build_reply
from wxnotify.errors import UnknownOrder
from wxnotify.idempotency import State
from wxnotify.stores.memory import MemoryStore
from wxnotify.stores.sqlite import SQLiteStore
from wxnotify.testing import notification, payment

from .receiving import MERCHANT, SUCCESS, AwaitedStore, FaultyStore, Orders, Shop

PAID = notification()
PARTS = ["nothing", "store", "expect", "handler", "all"]


class AsyncShop(Shop):
    """A shop of which some part is made of coroutine functions."""

    def __init__(self, part: str, store: Any = None, **options: Any) -> None:
        self._part = part
        store = FaultyStore() if store is None else store
        if self._is("store"):
            store = AwaitedStore(store)
        if self._is("expect"):
            options["expect"] = self.expect_soon
        super().__init__(store, **options)

    def _is(self, part: str) -> bool:
        return self._part in (part, "all")

    def register(self) -> None:
        self.receiver.on("payment")(self.handle_soon if self._is("handler") else self.handle)

    async def expect_soon(self, payment: Payment) -> Expected | None:
        await asyncio.sleep(0)
        return self.expect(payment)

    async def handle_soon(self, payment: Payment) -> None:
        await asyncio.sleep(0)
        self.handle(payment)

    def received(self, *bodies: bytes) -> list[Reply]:
        async def one_after_the_other() -> list[Reply]:
            return [await self.receiver.receive_async(body) for body in bodies]

        return asyncio.run(one_after_the_other())

    @property
    def codes(self) -> list[str]:
        return [event.code for event in self.events]


@pytest.mark.parametrize("part", PARTS)
def test_whatever_part_is_asynchronous_the_road_is_the_same(part: str) -> None:
    shop = AsyncShop(part, failing=[ValueError("out of stock")])
    forged = notification(key="another-test-key-0123456789abcde")
    unknown = notification(out_trade_no="A-9")
    shop.orders["A-1002"] = Expected(100)
    other = notification(out_trade_no="A-1002")  # of the same transaction
    replies = shop.received(forged, unknown, PAID, PAID, PAID, other)
    assert shop.codes == [
        "bad_signature", "unknown_order", "handler_failed", "handled", "duplicate", "conflict",
    ]  # fmt: skip
    assert [reply.status for reply in replies] == [401, 503, 500, 200, 200, 500]
    assert replies[3] == replies[4] == SUCCESS
    assert len(shop.handled) == 2


@pytest.mark.parametrize("part", PARTS)
def test_a_queried_payment_is_settled_on_the_loop_too(part: str) -> None:
    shop = AsyncShop(part)

    async def settled() -> list[Event]:
        return [await shop.receiver.settle_async(payment()), await shop.receiver.settle_async(payment())]

    assert [event.outcome for event in asyncio.run(settled())] == [Outcome.HANDLED, Outcome.DUPLICATE]
    assert len(shop.handled) == 1


@pytest.mark.parametrize("part", PARTS)
def test_mistakes_of_the_caller_are_raised_to_it(part: str) -> None:
    shop = AsyncShop(part)
    with pytest.raises(TypeError, match="bytes"):
        asyncio.run(shop.receiver.receive_async("<xml/>"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Payment"):
        asyncio.run(shop.receiver.settle_async({}))  # type: ignore[arg-type]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LookupError(), "expectation_failed"),
        (StopIteration(), "expectation_failed"),
        (UnknownOrder(), "unknown_order"),
    ],
)
def test_an_expectation_that_raises_refuses(part: str, error: Exception, code: str) -> None:
    class Raising(AsyncShop):
        def expect(self, payment: Payment) -> Expected:
            raise error

    shop = Raising(part)
    assert shop.received(PAID)[0].status == shop.events[0].status
    assert shop.codes == [code]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("error", [ValueError(), StopIteration(), asyncio.TimeoutError()], ids=repr)
def test_a_handler_that_raises_is_called_again_by_the_resend(part: str, error: Exception) -> None:
    shop = AsyncShop(part, failing=[error])
    shop.received(PAID, PAID)
    assert shop.codes == ["handler_failed", "handled"]


@pytest.mark.parametrize("part", PARTS)
def test_a_store_that_is_down_fails_closed_and_recovers(part: str) -> None:
    store = FaultyStore()
    store.faults["claim"] = [OSError()]
    shop = AsyncShop(part, store)
    shop.received(PAID, PAID)
    assert shop.codes == ["store_down", "handled"]


# --- threads ------------------------------------------------------------------------


def test_what_is_all_blocking_runs_whole_in_one_worker_thread() -> None:
    threads: list[tuple[str, int]] = []

    def here(step: str) -> None:
        threads.append((step, threading.get_ident()))

    class Watched(MemoryStore):
        def claim(self, *arguments: Any, **named: Any) -> Any:
            here("claim")
            return super().claim(*arguments, **named)

        def complete(self, *arguments: Any, **named: Any) -> Any:
            here("complete")
            return super().complete(*arguments, **named)

    def expect(payment: Payment) -> Expected:
        here("expect")
        return Expected(100)

    receiver = Receiver(MERCHANT, Watched(), expect=expect, on_event=lambda event: here("event"))
    receiver.on("payment")(lambda payment: here("handler"))
    assert asyncio.run(receiver.receive_async(PAID)) == SUCCESS
    assert [step for step, _ in threads] == ["expect", "claim", "handler", "complete", "event"]
    assert len({thread for step, thread in threads if step != "event"}) == 1
    assert threading.get_ident() not in {thread for _, thread in threads}


def test_a_transaction_stays_in_one_thread_even_where_the_expectation_is_awaited(tmp_path: Any) -> None:
    database = Orders(tmp_path / "shop.db")  # whose connections refuse other threads

    async def expect(payment: Payment) -> Expected:
        return Expected(100)

    with SQLiteStore(tmp_path / "shop.db") as store:
        receiver = Receiver(MERCHANT, store, expect=expect)
        receiver.on("payment", transaction=database.transaction)(database.ship)
        assert asyncio.run(receiver.receive_async(PAID)) == SUCCESS
    assert database.shipped == 1


def test_with_fewer_threads_than_deliveries_all_are_answered() -> None:
    shop = AsyncShop("nothing", threads=1)

    async def all_at_once() -> list[Reply]:
        return await asyncio.gather(*(shop.receiver.receive_async(PAID) for _ in range(8)))

    assert asyncio.run(all_at_once()) == [SUCCESS] * 8
    assert shop.codes.count("handled") == 1


# --- a client that hangs up -----------------------------------------------------------


async def hang_up(
    receive: Callable[[], Any],
    begun: Callable[[], bool],
    go_on: Callable[[], object],
    ended: Callable[[], bool],
) -> None:
    """Cancel a delivery in the midst of its handler, and see it end all the same."""
    caller = asyncio.ensure_future(receive())
    while not begun():
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on()
    while not ended():
        await asyncio.sleep(0)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("verb", ["receive", "settle"])
def test_a_caller_that_is_cancelled_leaves_the_work_going_on(part: str, verb: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Patient(AsyncShop):
        async def handle_soon(self, payment: Payment) -> None:
            begun.set()
            while not go_on.is_set():
                await asyncio.sleep(0)
            self.handled.append(payment)

        def handle(self, payment: Payment) -> None:
            begun.set()
            assert go_on.wait(10)
            self.handled.append(payment)

    shop = Patient(part)

    async def delivered() -> Reply:
        receiver = shop.receiver
        receive = receiver.receive_async if verb == "receive" else receiver.settle_async
        await hang_up(
            lambda: receive(PAID if verb == "receive" else payment()),  # type: ignore[arg-type]
            begun.is_set,
            go_on.set,
            lambda: bool(shop.events),
        )
        return await receiver.receive_async(PAID)

    assert asyncio.run(delivered()) == SUCCESS
    assert shop.codes == ["handled", "duplicate"]
    assert len(shop.handled) == 1


def test_a_loop_that_ends_waits_for_a_handler_in_a_thread_and_settles_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Patient(AsyncShop):
        def handle(self, payment: Payment) -> None:
            begun.set()
            assert go_on.wait(10)

    shop = Patient("store")

    async def leave_it_running() -> None:
        caller = asyncio.ensure_future(shop.receiver.receive_async(PAID))
        while not begun.is_set():
            await asyncio.sleep(0)
        threading.Timer(0.01, go_on.set).start()
        caller.cancel()

    asyncio.run(leave_it_running())
    assert shop.codes == ["handled"]


def test_a_loop_that_ends_cancels_a_coroutine_handler_and_the_resend_calls_it_again() -> None:
    begun: list[Payment] = []
    store = FaultyStore()
    receiver = Receiver(MERCHANT, AwaitedStore(store), expect=WAIVE_EXPECTATION)

    @receiver.on("payment")
    async def ship(payment: Payment) -> None:
        begun.append(payment)
        if len(begun) == 1:
            await asyncio.Event().wait()

    async def leave_it_running() -> None:
        caller = asyncio.ensure_future(receiver.receive_async(PAID))
        while not begun:
            await asyncio.sleep(0)
        caller.cancel()

    asyncio.run(leave_it_running())
    assert store.called == ["claim", "release"]
    assert asyncio.run(receiver.receive_async(PAID)) == SUCCESS


# --- at the same time ----------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_of_64_deliveries_at_once_in_tasks_one_is_handled(part: str) -> None:
    shop = AsyncShop(part, MemoryStore())

    async def all_at_once() -> list[Reply]:
        bodies = (notification(nonce_str=f"nonce{n}") for n in range(64))
        return await asyncio.gather(*map(shop.receiver.receive_async, bodies))

    replies = asyncio.run(all_at_once())
    fail = build_reply("FAIL", "in_progress", status=503)
    assert len(shop.handled) == 1
    assert SUCCESS in replies
    assert set(replies) <= {SUCCESS, fail}
    assert len(shop.events) == 64


# --- what a handler, a fork, a full pool and the loop's end can do ------------------


@pytest.mark.parametrize("ending", [asyncio.CancelledError(), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("part", ["nothing", "handler"])
def test_a_handler_that_ends_in_no_ordinary_exception_is_told_fail_and_reported(
    part: str, ending: BaseException
) -> None:
    shop = AsyncShop(part, failing=[ending])
    replies = shop.received(PAID, PAID)
    assert [reply.status for reply in replies] == [500, 200]
    assert shop.codes == ["handler_failed", "handled"]


def test_the_requests_context_variables_are_there_in_the_worker_thread() -> None:
    request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")
    seen: list[str] = []
    shop = AsyncShop("nothing", during=lambda: seen.append(request_id.get()))

    async def serve() -> None:
        request_id.set("r-17")
        await shop.receiver.receive_async(PAID)

    asyncio.run(serve())
    assert seen == ["r-17"]


def test_a_delivery_that_waits_for_another_holds_no_thread() -> None:
    store = MemoryStore()
    waiting, other = payment(), notification(out_trade_no="A-2", transaction_id="42")
    claim = store.claim(waiting.key, fingerprint=waiting.fingerprint, owner=b"x" * 16, lease=30)
    orders = {"A-1001": Expected(100), "A-2": Expected(100)}
    shop = AsyncShop("nothing", store, orders=orders, threads=1, clock=time.monotonic)

    async def serve() -> Reply:
        first = asyncio.ensure_future(shop.receiver.receive_async(PAID))
        assert await shop.receiver.receive_async(other) == SUCCESS
        assert not first.done()
        store.complete(claim, retain=48 * 3600)
        return await first

    assert asyncio.run(serve()) == SUCCESS
    assert shop.codes == ["handled", "duplicate"]


@pytest.mark.parametrize("verb", ["complete", "release"])
def test_a_loop_that_ends_still_tells_the_store_what_became_of_the_handler(verb: str) -> None:
    began = threading.Event()
    inner = MemoryStore()

    class Slow(AwaitedStore):
        async def complete(self, claim: Any, **options: Any) -> Any:
            return await self._slowly("complete", claim, **options)

        async def release(self, claim: Any, **options: Any) -> Any:
            return await self._slowly("release", claim, **options)

        async def _slowly(self, name: str, claim: Any, **options: Any) -> Any:
            if not began.is_set():
                began.set()
                await asyncio.Event().wait()
            return getattr(inner, name)(claim, **options)

    failing: list[BaseException] = [ValueError()] if verb == "release" else []
    shop = Shop(Slow(inner), failing=failing)

    async def serve_until_it_is_told() -> None:
        delivery = asyncio.ensure_future(shop.receiver.receive_async(PAID))
        while not began.is_set():
            await asyncio.sleep(0)
        delivery.cancel()

    asyncio.run(serve_until_it_is_told())
    record = inner.find(payment().key)
    assert record is not None
    assert record.state is (State.DONE if verb == "complete" else State.RELEASED)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_receiver_that_was_used_before_a_fork_works_in_the_child(tmp_path: Path) -> None:
    with SQLiteStore(tmp_path / "shop.db") as store:
        receiver = Receiver(MERCHANT, store, expect=WAIVE_EXPECTATION)
        receiver.on("payment")(lambda payment: None)
        assert asyncio.run(receiver.receive_async(PAID)) == SUCCESS
        child = os.fork()
        if not child:
            try:
                other = notification(transaction_id="42")
                reply = asyncio.run(asyncio.wait_for(receiver.receive_async(other), 20))
                os._exit(0 if reply == SUCCESS else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
